// SPDX-License-Identifier: Apache-2.0
// The words of an AXI stream for C-simulation with g++: vendor tools bring their own ap_axi_sdata.h.
#ifndef FLOW_CSIM_AP_AXI_SDATA_H
#define FLOW_CSIM_AP_AXI_SDATA_H

#include <ap_int.h>

template <int D, int U, int TI, int TD> struct ap_axiu {
    ap_uint<D> data;
    ap_uint<(D + 7) / 8> keep;
    ap_uint<(D + 7) / 8> strb;
    ap_uint<1> last;
    ap_uint<(U ? U : 1)> user = 0;  // these three: the tools have none of width 0
    ap_uint<(TI ? TI : 1)> id = 0;
    ap_uint<(TD ? TD : 1)> dest = 0;
};

#endif
