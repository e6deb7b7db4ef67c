# SPDX-License-Identifier: Apache-2.0
"""flow: a quantised neural network to an edge FPGA, exact to the last integer."""
