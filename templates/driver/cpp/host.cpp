// SPDX-License-Identifier: Apache-2.0
#include "host.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace flow {
namespace {

// Calls use(place in the frame, place in the constant) for every value of a frame, in order.
template <typename Use> void along(const Shape& shape, const Shape& strides, Use use) {
    const int size = std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<int>());
    Shape at(shape.size(), 0);
    int place = 0;  // in the constant
    for (int i = 0; i < size; ++i) {
        use(i, place);
        for (std::size_t axis = shape.size(); axis-- > 0;) {
            place += strides[axis];
            if (++at[axis] < shape[axis]) break;
            place -= strides[axis] * shape[axis];
            at[axis] = 0;
        }
    }
}

template <typename Function> void with_constant(Values& x, const Shape& shape, const Constant& constant, Function f) {
    along(shape, constant.strides, [&](int i, int c) { x[i] = f(x[i], constant.values[c]); });
}

Values transposed(const Values& x, const Shape& shape, const Shape& order) {
    Shape inside(shape.size(), 1), out(shape.size()), strides(shape.size());
    for (std::size_t axis = shape.size(); axis-- > 1;) inside[axis - 1] = inside[axis] * shape[axis];
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
        out[axis] = shape[order[axis]];
        strides[axis] = inside[order[axis]];
    }
    Values y(x.size());
    along(out, strides, [&](int i, int place) { y[i] = x[place]; });
    return y;
}

// Calls use(place of the first value, distance to the next) for every run of values along an axis.
template <typename Use> void runs(const Shape& shape, int axis, Use use) {
    const int distance = std::accumulate(shape.begin() + axis + 1, shape.end(), 1, std::multiplies<int>());
    const int outer = std::accumulate(shape.begin(), shape.begin() + axis, 1, std::multiplies<int>());
    for (int o = 0; o < outer; ++o) {
        for (int inner = 0; inner < distance; ++inner) use(o * distance * shape[axis] + inner, distance);
    }
}

void softmax(Values& x, const Shape& shape, int axis) {
    runs(shape, axis, [&](int start, int distance) {
        double greatest = x[start], sum = 0;
        for (int i = 0; i < shape[axis]; ++i) greatest = std::max(greatest, x[start + i * distance]);
        for (int i = 0; i < shape[axis]; ++i) {
            double& value = x[start + i * distance];
            value = std::exp(value - greatest);
            sum += value;
        }
        for (int i = 0; i < shape[axis]; ++i) x[start + i * distance] /= sum;
    });
}

// The places of the greatest values along an axis; of equals the first.
Values argmax(const Values& x, const Shape& shape, int axis, int count) {
    Values y(x.size() / shape[axis] * count);
    runs(shape, axis, [&](int start, int distance) {
        std::vector<int> order(shape[axis]);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](int a, int b) { return x[start + a * distance] > x[start + b * distance]; });
        const int outer = start / (distance * shape[axis]), inner = start % distance;
        for (int i = 0; i < count; ++i) y[(outer * count + i) * distance + inner] = order[i];
    });
    return y;
}

void apply(const Step& step, Values& x) {
    const auto each = [&](double (*f)(double)) { std::transform(x.begin(), x.end(), x.begin(), f); };
    const auto both = [&](double (*f)(double, double)) {
        const bool first = step.first;
        with_constant(x, step.shape, step.constant, [=](double v, double c) { return first ? f(c, v) : f(v, c); });
    };
    switch (step.kind) {
        case Kind::add: return both([](double a, double b) { return a + b; });
        case Kind::sub: return both([](double a, double b) { return a - b; });
        case Kind::mul: return both([](double a, double b) { return a * b; });
        case Kind::div: return both([](double a, double b) { return a / b; });
        case Kind::leaky_relu:
            return with_constant(x, step.shape, step.constant, [](double v, double c) { return v > 0 ? v : c * v; });
        case Kind::relu: return each([](double v) { return v > 0 ? v : 0.0; });
        case Kind::tanh: return each([](double v) { return std::tanh(v); });
        case Kind::neg: return each([](double v) { return -v; });
        case Kind::sigmoid:  // without overflow: exp(-log(1 + exp(-v)))
            return each([](double v) {
                return std::exp(-(v > 0 ? std::log1p(std::exp(-v)) : -v + std::log1p(std::exp(v))));
            });
        case Kind::clip:
            for (double& v : x) v = std::min(std::max(v, step.least), step.greatest);
            return;
        case Kind::transpose: x = transposed(x, step.shape, step.order); return;
        case Kind::softmax: return softmax(x, step.shape, step.axis);
        case Kind::argmax: x = argmax(x, step.shape, step.axis, step.count); return;
        case Kind::identity: return;
    }
}

double rounded(double x, Rounding mode) {
    const double whole = std::floor(std::fabs(x)), rest = std::fabs(x) - whole;
    switch (mode) {
        case Rounding::half_even: return std::nearbyint(x);  // the mode in which every program starts
        case Rounding::half_away: return std::copysign(whole + (rest >= 0.5), x);
        case Rounding::half_to_zero: return std::copysign(whole + (rest > 0.5), x);
        case Rounding::away: return x < 0 ? std::floor(x) : std::ceil(x);
        case Rounding::floor: return std::floor(x);
        case Rounding::ceil: return std::ceil(x);
        case Rounding::to_zero: return std::trunc(x);
        case Rounding::sign: break;
    }
    return x >= 0 ? 1.0 : -1.0;
}

}  // namespace

std::vector<std::int64_t> encode_frame(const HostPart& host, Values x) {
    for (const Step& step : host.before) apply(step, x);
    const Quantizer& q = host.quantizer;
    with_constant(x, q.shape, q.scale, [](double v, double scale) { return v / scale; });
    with_constant(x, q.shape, q.zero_point, [](double v, double zero) { return v + zero; });
    std::vector<std::int64_t> levels;
    for (double v : x) {
        levels.push_back(std::int64_t(std::min(std::max(rounded(v, q.rounding), q.least), q.greatest)));
    }
    return levels;
}

Values decode_frame(const HostPart& host, const std::vector<std::int64_t>& y) {
    Values x(y.begin(), y.end());
    with_constant(x, host.shape, host.scale, [](double v, double scale) { return v * scale; });
    with_constant(x, host.shape, host.offset, [](double v, double offset) { return v + offset; });
    for (const Step& step : host.behind) apply(step, x);
    return x;
}

}  // namespace flow
