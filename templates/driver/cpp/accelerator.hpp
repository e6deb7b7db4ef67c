// SPDX-License-Identifier: Apache-2.0
// The accelerator on plain Linux: the registers of AXI DMA through UIO, buffers from u-dma-buf. The bitstream is loaded
// by whoever boots the board; README.md beside this file has the device tree.
#ifndef FLOW_ACCELERATOR_HPP
#define FLOW_ACCELERATOR_HPP

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "layout.hpp"

namespace flow {

// What the user can mend.
struct AcceleratorError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Memory that the DMA reaches.
struct Memory {
    std::uint8_t* bytes;    // as the processor sees it
    std::uint64_t address;  // as the DMA sees it
    std::size_t size;
};

// The registers of the DMA and one piece of memory: real, or a stand-in.
class Device {
public:
    virtual ~Device() = default;
    virtual std::uint32_t read(unsigned offset) = 0;
    virtual void write(unsigned offset, std::uint32_t value) = 0;
    virtual Memory memory() = 0;
    virtual std::map<std::string, double> power() { return {}; }
};

// /dev/uioN and /dev/udmabufN. Throws AcceleratorError where one is missing or may not be opened.
std::unique_ptr<Device> open_device(const std::string& uio, const std::string& udmabuf);

// Watts of each sensor that Linux knows (hwmon: powerN_input); empty where there is none.
std::map<std::string, double> read_power(const std::string& folder = "/sys/class/hwmon");

// Frames of integers, one after the other, to bytes and back. Throws AcceleratorError for a value outside the type.
void pack(const std::int64_t* values, std::size_t frames, const Stream& stream, std::uint8_t* bytes);
void unpack(const std::uint8_t* bytes, std::size_t frames, const Stream& stream, std::int64_t* values);

// Frames from a file with a line of hexadecimal digits each, as bytes.
std::vector<std::uint8_t> read_frames(const std::string& path, const Stream& stream);

struct Measured {
    double frames_per_second;  // with all copies
    double call_us;            // of one frame
    std::map<std::string, double> power_w;
};

class Accelerator {
public:
    // batch: frames of a transfer, 0 for as many as the memory holds; timeout: seconds of a transfer.
    explicit Accelerator(std::unique_ptr<Device> device, std::size_t batch = 0, double timeout = 10.0);

    // The integers that leave the hardware for those that enter it; a frame is kInput.values, its result kOutput.values.
    // Two buffers: while one batch is under way, the next is packed and the one before is unpacked.
    std::vector<std::int64_t> predict_ints(const std::vector<std::int64_t>& x);

    // The model's output in float64 for float frames, one after the other. Beside a rounding boundary, by less than float64
    // can tell, a value may be rounded the other way than the exact model rounds it; predict_ints is exact.
    // Throws AcceleratorError where the model has steps on the host that this driver does not know.
    std::vector<double> predict(const std::vector<double>& x);
    // Its two halves: the integers that enter for float frames, and the output for those that leave.
    std::vector<std::int64_t> encode(const std::vector<double>& x) const;
    std::vector<double> decode(const std::vector<std::int64_t>& y) const;

    // Watts of each supply that the board measures; empty where it measures none.
    std::map<std::string, double> power() { return device_->power(); }

    // Runs known_input.hex and known_output.hex of a folder; how many integers were compared.
    std::size_t self_test(const std::string& folder);

    Measured measure(const std::string& folder, std::size_t frames = 10000);

    std::size_t batch() const { return batch_; }

    // Drops what is under way. The bitstream must be loaded anew after a transfer that failed.
    void reset();

private:
    struct Buffers {
        std::size_t input, output;  // places in the memory
    };

    void start(const Buffers& buffers, std::size_t frames);
    void finish(std::size_t first, std::size_t frames);
    void wait(unsigned channel, const char* name);

    std::unique_ptr<Device> device_;
    Memory memory_;
    Buffers buffers_[2];
    std::size_t batch_;
    double timeout_;
};

}  // namespace flow

#endif
