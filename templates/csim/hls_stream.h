// SPDX-License-Identifier: Apache-2.0
// hls::stream for C-simulation with g++: a queue that costs nothing to make and reports a read from nothing. Where
// processes run as coroutines, it holds no more words than it is told, and who must wait lets the others run.
#ifndef FLOW_CSIM_HLS_STREAM_H
#define FLOW_CSIM_HLS_STREAM_H

#include <cstddef>
#include <stdexcept>
#include <vector>

namespace flow_simulation {

// Who runs the processes, where they wait for each other.
struct Waiter {
    virtual ~Waiter() {}
    virtual void wait(const void* stream, bool full) = 0;  // returns when it is worth another look
    virtual void moved() = 0;                              // a word has been read or written
};

inline Waiter*& waiter() {
    static thread_local Waiter* pointer = 0;
    return pointer;
}

}  // namespace flow_simulation

namespace hls {

template <typename T> class stream {
  public:
    stream() : head_(0), depth_(0) {}
    explicit stream(std::size_t depth) : head_(0), depth_(depth) {}

    T read() {
        if (empty() && !(depth_ != 0 && flow_simulation::waiter() != 0)) {
            throw std::runtime_error("a process reads from a stream that holds no word");
        }
        while (empty()) flow_simulation::waiter()->wait(this, false);
        const T value = words_[head_++];
        if (head_ == words_.size()) {
            words_.clear();
            head_ = 0;
        }
        if (depth_ != 0) flow_simulation::waiter()->moved();
        return value;
    }
    void read(T& value) { value = read(); }
    void write(const T& value) {
        if (depth_ != 0) {
            while (size() >= depth_) flow_simulation::waiter()->wait(this, true);
            flow_simulation::waiter()->moved();
        }
        words_.push_back(value);
    }
    bool empty() const { return head_ == words_.size(); }
    std::size_t size() const { return words_.size() - head_; }

  private:
    stream(const stream&);
    stream& operator=(const stream&);
    std::vector<T> words_;
    std::size_t head_;
    std::size_t depth_;  // the most words it holds; 0 for any number
};

}  // namespace hls

#endif
