# SPDX-License-Identifier: Apache-2.0
"""What ``integerize`` does with each kind of operation."""
