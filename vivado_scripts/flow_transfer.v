// SPDX-License-Identifier: Apache-2.0
// Ends a transfer of results where the transfer of its frames ended. It stands between AXI DMA and the accelerator.
//
// The accelerator marks the last word of every frame (TLAST), and AXI DMA in simple mode ends a transfer at the first
// mark (PG021): without this block a transfer could hold one frame. The block counts the words of the frames that enter,
// notes for each frame whether its last word ended the transfer, and lets a mark of the results through where it did.
// The words themselves go through unchanged, in both directions and without a register.
//
// There is room for MARKS frames between entry and exit. When it is used up the entry waits, which cannot stop the
// accelerator: the frames whose results are awaited have entered whole.
`timescale 1ns / 1ps
`default_nettype none

module flow_transfer #(
    parameter integer IN_BITS     = 64,
    parameter integer OUT_BITS    = 64,
    parameter integer FRAME_WORDS = 1,   // words of a frame that enters
    parameter integer MARKS       = 64   // a power of two
) (
    (* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)
    (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF frames_in:frames_out:results_in:results_out, ASSOCIATED_RESET aresetn" *)
    input  wire                    aclk,
    (* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)
    (* X_INTERFACE_PARAMETER = "POLARITY ACTIVE_LOW" *)
    input  wire                    aresetn,

    // frames: from DMA
    input  wire [IN_BITS-1:0]      frames_in_tdata,
    input  wire [IN_BITS/8-1:0]    frames_in_tkeep,
    input  wire                    frames_in_tlast,
    input  wire                    frames_in_tvalid,
    output wire                    frames_in_tready,

    // frames: to the accelerator
    output wire [IN_BITS-1:0]      frames_out_tdata,
    output wire [IN_BITS/8-1:0]    frames_out_tkeep,
    output wire                    frames_out_tlast,
    output wire                    frames_out_tvalid,
    input  wire                    frames_out_tready,

    // results: from the accelerator
    input  wire [OUT_BITS-1:0]     results_in_tdata,
    input  wire [OUT_BITS/8-1:0]   results_in_tkeep,
    input  wire                    results_in_tlast,
    input  wire                    results_in_tvalid,
    output wire                    results_in_tready,

    // results: to DMA
    output wire [OUT_BITS-1:0]     results_out_tdata,
    output wire [OUT_BITS/8-1:0]   results_out_tkeep,
    output wire                    results_out_tlast,
    output wire                    results_out_tvalid,
    input  wire                    results_out_tready
);
    localparam integer PLACE_BITS = (FRAME_WORDS > 1) ? $clog2(FRAME_WORDS) : 1;
    localparam integer HELD_BITS  = $clog2(MARKS) + 1;

    reg [PLACE_BITS-1:0] place;  // words of the current frame that have entered
    reg [HELD_BITS-1:0]  held;   // frames inside
    reg [MARKS-1:0]      marks;  // for each of them, the oldest at held - 1: whether it is the last of its transfer

    wire full = (held == MARKS);
    wire ends = (place == FRAME_WORDS - 1);
    // a last word whose frame has not entered whole waits: only then is it known whether the transfer ended
    wire known = !results_in_tlast || (held != 0);

    assign frames_out_tdata  = frames_in_tdata;
    assign frames_out_tkeep  = frames_in_tkeep;
    assign frames_out_tlast  = ends;
    assign frames_out_tvalid = frames_in_tvalid && !full;
    assign frames_in_tready  = frames_out_tready && !full;

    assign results_out_tdata  = results_in_tdata;
    assign results_out_tkeep  = results_in_tkeep;
    assign results_out_tlast  = results_in_tlast && (held != 0) && marks[held - 1'b1];
    assign results_out_tvalid = results_in_tvalid && known;
    assign results_in_tready  = results_out_tready && known;

    wire entered = frames_in_tvalid && frames_in_tready;
    wire push    = entered && ends;
    wire pop     = results_in_tvalid && results_in_tready && results_in_tlast;

    always @(posedge aclk) begin
        if (!aresetn) begin
            place <= 0;
            held  <= 0;
        end else begin
            if (entered) place <= ends ? 0 : place + 1'b1;
            if (push) marks <= {marks[MARKS-2:0], frames_in_tlast};
            held <= held + push - pop;
        end
    end
endmodule

`default_nettype wire
