# SPDX-License-Identifier: Apache-2.0
"""Composition: each step of the way as a function, and all of them as one."""
