// SPDX-License-Identifier: Apache-2.0
// The headers that every unit of the C-simulation begins with, compiled once.
#include <ap_axi_sdata.h>
#include <ap_int.h>
#include <hls_stream.h>
