// SPDX-License-Identifier: Apache-2.0
// hls::stream for C-simulation with g++: a queue that costs nothing to make and reports a read from nothing.
#ifndef FLOW_CSIM_HLS_STREAM_H
#define FLOW_CSIM_HLS_STREAM_H

#include <cstddef>
#include <stdexcept>
#include <vector>

namespace hls {

template <typename T> class stream {
  public:
    stream() : head_(0) {}

    T read() {
        if (empty()) throw std::runtime_error("a process reads from a stream that holds no word");
        const T value = words_[head_++];
        if (head_ == words_.size()) {
            words_.clear();
            head_ = 0;
        }
        return value;
    }
    void read(T& value) { value = read(); }
    void write(const T& value) { words_.push_back(value); }
    bool empty() const { return head_ == words_.size(); }
    std::size_t size() const { return words_.size() - head_; }

  private:
    stream(const stream&);
    stream& operator=(const stream&);
    std::vector<T> words_;
    std::size_t head_;
};

}  // namespace hls

#endif
