// SPDX-License-Identifier: Apache-2.0
// Processes as coroutines, for C-simulation with bounded streams: each runs until it reads from an empty stream or
// writes to a full one. One thread, one fixed order, so that every run is the same.
#ifndef FLOW_CSIM_COROUTINES_H
#define FLOW_CSIM_COROUTINES_H

#include <ucontext.h>

#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "hls_stream.h"

namespace flow_simulation {

class Coroutines : public Waiter {
  public:
    Coroutines() : running_(0), moved_(false), stopping_(false) {}

    void add(const std::function<void()>& body) {
        tasks_.push_back(std::unique_ptr<Task>(new Task(body)));
    }

    // Runs all to their ends; false where none of those that are left can go on.
    bool run() {
        Waiter* const outer = waiter();
        waiter() = this;
        bool alive = true;
        bool stuck = false;
        while (alive) {
            alive = moved_ = false;
            for (running_ = 0; running_ < tasks_.size(); ++running_) {
                if (!tasks_[running_]->done) resume();
                alive |= !tasks_[running_]->done;
            }
            if (alive && !moved_ && !stopping_) {
                stuck = true;
                record();
                stopping_ = true;  // each wait now ends with an exception, so that every stack is unwound
            }
        }
        waiter() = outer;
        return !stuck;
    }

    // Which stream a process waits for at the end: that it can read (full is false) or write (true).
    struct Wait {
        const void* stream;
        bool full;
    };
    const std::vector<Wait>& waits() const { return waits_; }

    void wait(const void* stream, bool full) override {
        Task& task = *tasks_[running_];
        if (stopping_) throw Stopped();
        task.stream = stream;
        task.full = full;
        swapcontext(&task.context, &main_);
        if (stopping_) throw Stopped();
    }
    void moved() override { moved_ = true; }

  private:
    struct Stopped : std::exception {};
    struct Task {
        explicit Task(const std::function<void()>& work)
            : body(work), stack(1 << 20), started(false), done(false), stream(0), full(false) {}
        std::function<void()> body;
        std::vector<char> stack;
        ucontext_t context;
        bool started, done;
        const void* stream;
        bool full;
    };

    void resume() {
        Task& task = *tasks_[running_];
        if (!task.started) {
            task.started = true;
            getcontext(&task.context);
            task.context.uc_stack.ss_sp = task.stack.data();
            task.context.uc_stack.ss_size = task.stack.size();
            task.context.uc_link = &main_;
            current() = this;
            makecontext(&task.context, &enter, 0);
        }
        swapcontext(&main_, &task.context);
    }

    static Coroutines*& current() {
        static thread_local Coroutines* pointer = 0;
        return pointer;
    }

    static void enter() {
        Coroutines& all = *current();
        Task& task = *all.tasks_[all.running_];
        try {
            task.body();
        } catch (const std::exception&) {
            // only when all are stopped
        }
        task.done = true;
        all.moved_ = true;
    }

    void record() {
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            if (!tasks_[i]->done) waits_.push_back(Wait{tasks_[i]->stream, tasks_[i]->full});
        }
    }

    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<Wait> waits_;
    ucontext_t main_;
    std::size_t running_;
    bool moved_, stopping_;
};

}  // namespace flow_simulation

#endif
