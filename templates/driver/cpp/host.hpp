// SPDX-License-Identifier: Apache-2.0
// What the host computes in front of the hardware and behind it, in float64: the steps of io.json. The numbers of the
// network are in host_part.cpp.
#ifndef FLOW_HOST_HPP
#define FLOW_HOST_HPP

#include <cstdint>
#include <string>
#include <vector>

namespace flow {

using Shape = std::vector<int>;
using Values = std::vector<double>;

// Values that are repeated along some axes of a frame.
struct Constant {
    Values values;
    Shape strides;  // along each axis of the frame; 0 where they are repeated
};

enum class Kind { add, sub, mul, div, relu, sigmoid, tanh, neg, identity, clip, leaky_relu, transpose, softmax, argmax };
enum class Rounding { half_even, half_away, half_to_zero, away, floor, ceil, to_zero, sign };

struct Step {
    Kind kind;
    Shape shape;        // of the frame that it takes
    Constant constant;  // of add, sub, mul, div, leaky_relu
    bool first;         // whether the constant stands first
    double least, greatest;  // of clip
    Shape order;        // of transpose: which axis comes first, and so on
    int axis, count;    // of softmax and argmax
};

struct Quantizer {
    Shape shape;
    Constant scale, zero_point;
    Rounding rounding;
    double least, greatest;
};

struct HostPart {
    std::string missing;  // what is not here; empty where nothing is
    int frame_values;     // of a float frame
    std::vector<Step> before;
    Quantizer quantizer;
    Shape shape;  // of what leaves the hardware, as the steps behind take it
    Constant scale, offset;
    std::vector<Step> behind;
};

// Of this network.
const HostPart& host_part();

// One frame.
std::vector<std::int64_t> encode_frame(const HostPart& host, Values x);
Values decode_frame(const HostPart& host, const std::vector<std::int64_t>& y);

}  // namespace flow

#endif
