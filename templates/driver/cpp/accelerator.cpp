// SPDX-License-Identifier: Apache-2.0
#include "accelerator.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>

#include "host.hpp"

namespace flow {
namespace {

// Registers of AXI DMA in simple mode (PG021, "Direct Register Mode"); both channels have the same.
constexpr unsigned kSend = 0x00, kReceive = 0x30;
constexpr unsigned kControl = 0x00, kStatus = 0x04, kAddress = 0x18, kAddressHigh = 0x1C, kLength = 0x28;
constexpr std::uint32_t kRun = 0x1, kReset = 0x4;
constexpr std::uint32_t kHalted = 0x1, kIdle = 0x2, kInternal = 0x10, kErrors = 0x70;
constexpr std::size_t kMostBytes = (std::size_t(1) << 26) - 1;  // the length register has 26 bits
constexpr std::size_t kAlignment = 64;                          // buffers begin at a word of any width

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::size_t aligned(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// The mapping of a file, closed with it.
class Mapping {
public:
    Mapping(const std::string& path, std::size_t size) : size_(size) {
        const int file = ::open(path.c_str(), O_RDWR | O_SYNC);  // O_SYNC: u-dma-buf maps it without a cache
        if (file < 0) {
            throw AcceleratorError(path + " cannot be opened: " + std::strerror(errno) +
                                   "; is the driver loaded, and are you root?");
        }
        bytes_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        ::close(file);
        if (bytes_ == MAP_FAILED) throw AcceleratorError(path + " cannot be mapped: " + std::strerror(errno));
    }
    ~Mapping() { ::munmap(bytes_, size_); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    void* bytes() const { return bytes_; }

private:
    std::size_t size_;
    void* bytes_;
};

std::uint64_t number_in(const std::string& path) {
    std::ifstream file(path);
    std::string text;
    if (!(file >> text)) throw AcceleratorError(path + " cannot be read: is the module u-dma-buf loaded?");
    return std::stoull(text, nullptr, 0);
}

class LinuxDevice : public Device {
public:
    LinuxDevice(const std::string& uio, const std::string& udmabuf)
        : registers_("/dev/" + uio, 0x10000),
          size_(number_in("/sys/class/u-dma-buf/" + udmabuf + "/size")),
          address_(number_in("/sys/class/u-dma-buf/" + udmabuf + "/phys_addr")),
          memory_("/dev/" + udmabuf, size_) {}
    std::uint32_t read(unsigned offset) override { return at(offset); }
    void write(unsigned offset, std::uint32_t value) override { at(offset) = value; }
    Memory memory() override { return {static_cast<std::uint8_t*>(memory_.bytes()), address_, size_}; }
    std::map<std::string, double> power() override { return read_power(); }

private:
    volatile std::uint32_t& at(unsigned offset) {
        return static_cast<volatile std::uint32_t*>(registers_.bytes())[offset / 4];
    }
    Mapping registers_;
    std::size_t size_;
    std::uint64_t address_;
    Mapping memory_;
};

std::int64_t least(const Stream& stream) {
    if (stream.kind == 'u') return 0;
    return stream.kind == 'b' ? -1 : -(std::int64_t(1) << (stream.bits - 1));
}

std::int64_t greatest(const Stream& stream) {
    if (stream.kind == 'b') return 1;
    return (std::int64_t(1) << (stream.bits - (stream.kind == 'i' ? 1 : 0))) - 1;
}

const HostPart& known_host() {
    const HostPart& host = host_part();
    if (!host.missing.empty()) {
        throw AcceleratorError("the model computes on the host what this driver does not know: " + host.missing +
                               "; use predict_ints, and compute the rest with your own code");
    }
    return host;
}

}  // namespace

std::unique_ptr<Device> open_device(const std::string& uio, const std::string& udmabuf) {
    return std::unique_ptr<Device>(new LinuxDevice(uio, udmabuf));
}

std::map<std::string, double> read_power(const std::string& folder) {
    std::map<std::string, double> watts;
    DIR* opened = ::opendir(folder.c_str());
    if (!opened) return watts;
    while (const dirent* entry = ::readdir(opened)) {
        const std::string sensor = entry->d_name, place = folder + "/" + sensor;
        std::string name;
        if (!(std::ifstream(place + "/name") >> name)) continue;  // . and ..
        for (int number = 1;; ++number) {
            double microwatts = 0;
            const std::string input = "/power" + std::to_string(number) + "_input";
            if (!(std::ifstream(place + input) >> microwatts)) break;
            watts[name + " " + sensor + "/power" + std::to_string(number)] = 1e-6 * microwatts;
        }
    }
    ::closedir(opened);
    return watts;
}

void pack(const std::int64_t* values, std::size_t frames, const Stream& stream, std::uint8_t* bytes) {
    const std::int64_t low = least(stream), high = greatest(stream);
    const int container = stream.container_bits;
    std::memset(bytes, 0, frames * stream.frame_bytes);
    for (std::size_t frame = 0; frame < frames; ++frame, bytes += stream.frame_bytes) {
        for (int i = 0; i < stream.values; ++i) {
            const std::int64_t value = *values++;
            if (value < low || value > high || (stream.kind == 'b' && value == 0)) {
                throw AcceleratorError("frame " + std::to_string(frame) + ", value " + std::to_string(i) + ": " +
                                       std::to_string(value) + " does not fit " + stream.kind +
                                       std::to_string(stream.bits));
            }
            const std::uint64_t code = stream.kind == 'b' ? std::uint64_t(value > 0) : std::uint64_t(value);
            if (container >= 8) {
                for (int byte = 0; byte < container / 8; ++byte) {
                    bytes[i * (container / 8) + byte] = std::uint8_t(code >> (8 * byte));
                }
            } else {
                const unsigned mask = (1U << container) - 1;
                bytes[i * container / 8] |= std::uint8_t((code & mask) << (i * container % 8));
            }
        }
    }
}

void unpack(const std::uint8_t* bytes, std::size_t frames, const Stream& stream, std::int64_t* values) {
    const int container = stream.container_bits;
    for (std::size_t frame = 0; frame < frames; ++frame, bytes += stream.frame_bytes) {
        for (int i = 0; i < stream.values; ++i) {
            std::uint64_t code = 0;
            if (container >= 8) {
                for (int byte = 0; byte < container / 8; ++byte) {
                    code |= std::uint64_t(bytes[i * (container / 8) + byte]) << (8 * byte);
                }
            } else {
                code = (bytes[i * container / 8] >> (i * container % 8)) & ((1U << container) - 1);
            }
            const std::uint64_t sign = std::uint64_t(1) << (container - 1);
            if (stream.kind == 'b') {
                *values++ = code ? 1 : -1;
            } else {
                *values++ = stream.kind == 'i' ? std::int64_t((code ^ sign) - sign) : std::int64_t(code);
            }
        }
    }
}

std::vector<std::uint8_t> read_frames(const std::string& path, const Stream& stream) {
    std::ifstream file(path);
    if (!file) throw AcceleratorError(path + " cannot be read");
    std::vector<std::uint8_t> bytes;
    std::string line;
    while (std::getline(file, line)) {
        if (line.size() != 2 * std::size_t(stream.frame_bytes)) {
            throw AcceleratorError(path + ": a line of " + std::to_string(line.size()) + " digits, expected " +
                                   std::to_string(2 * stream.frame_bytes));
        }
        for (std::size_t i = 0; i < line.size(); i += 2) {
            bytes.push_back(std::uint8_t(std::stoul(line.substr(i, 2), nullptr, 16)));
        }
    }
    return bytes;
}

Accelerator::Accelerator(std::unique_ptr<Device> device, std::size_t batch, double timeout)
    : device_(std::move(device)), memory_(device_->memory()), batch_(batch), timeout_(timeout) {
    const std::size_t largest = std::max(kInput.frame_bytes, kOutput.frame_bytes);
    const std::size_t room = memory_.size / 2 > 2 * kAlignment ? memory_.size / 2 - 2 * kAlignment : 0;
    const std::size_t most = std::min(room / (kInput.frame_bytes + kOutput.frame_bytes), kMostBytes / largest);
    if (batch_ == 0) batch_ = most;
    if (batch_ == 0 || batch_ > most) {
        throw AcceleratorError("the memory of " + std::to_string(memory_.size) + " bytes holds two batches of up to " +
                               std::to_string(most) + " frames, not of " + std::to_string(batch_));
    }
    const std::size_t in = aligned(batch_ * kInput.frame_bytes), out = aligned(batch_ * kOutput.frame_bytes);
    buffers_[0] = {0, in};
    buffers_[1] = {in + out, 2 * in + out};
    reset();
}

void Accelerator::reset() {
    const auto until = [this](unsigned place, std::uint32_t bit, const char* complaint) {
        const auto start = Clock::now();
        while (device_->read(place) & bit) {
            if (seconds_since(start) > timeout_) throw AcceleratorError(std::string("the DMA ") + complaint);
        }
    };
    device_->write(kSend + kControl, kReset);  // both directions
    until(kSend + kControl, kReset, "does not come out of its reset");
    for (unsigned channel : {kReceive, kSend}) {
        device_->write(channel + kControl, kRun);
        until(channel + kStatus, kHalted, "does not start");
    }
}

void Accelerator::start(const Buffers& buffers, std::size_t frames) {
    const auto transfer = [this](unsigned channel, std::size_t place, std::size_t size) {
        const std::uint64_t address = memory_.address + place;
        device_->write(channel + kAddress, std::uint32_t(address));
        device_->write(channel + kAddressHigh, std::uint32_t(address >> 32));
        device_->write(channel + kLength, std::uint32_t(size));
    };
    __sync_synchronize();  // the frames lie in memory before the DMA reads them
    transfer(kReceive, buffers.output, frames * kOutput.frame_bytes);
    transfer(kSend, buffers.input, frames * kInput.frame_bytes);
}

void Accelerator::wait(unsigned channel, const char* name) {
    const auto start = Clock::now();
    while (true) {
        const std::uint32_t status = device_->read(channel + kStatus);
        if (status & kErrors) {
            std::ostringstream text;
            text << "the DMA ended its transfer of " << name << " with an error (status 0x" << std::hex << status << ")";
            if (status & kInternal) text << ": the results did not end where the frames did (TLAST)";
            throw AcceleratorError(text.str() + "; load the bitstream of this package");
        }
        if (status & kIdle) return;
        if (seconds_since(start) > timeout_) {
            std::ostringstream text;
            text << "after " << timeout_ << " s the DMA of " << name << " still waits for words that do not come";
            throw AcceleratorError(text.str() + "; load the bitstream anew, look at its clock");
        }
    }
}

void Accelerator::finish(std::size_t first, std::size_t frames) {
    wait(kReceive, "results");
    wait(kSend, "frames");
    const std::size_t moved = device_->read(kReceive + kLength), expected = frames * kOutput.frame_bytes;
    if (moved != expected) {
        throw AcceleratorError(std::to_string(moved) + " bytes of results came for frames " + std::to_string(first) +
                               " to " + std::to_string(first + frames - 1) + ", expected " + std::to_string(expected) +
                               ": they ended early (TLAST); load the bitstream of this package");
    }
    __sync_synchronize();
}

std::vector<std::int64_t> Accelerator::predict_ints(const std::vector<std::int64_t>& x) {
    if (x.size() % kInput.values) {
        throw AcceleratorError(std::to_string(x.size()) + " values are no whole frames of " +
                               std::to_string(kInput.values));
    }
    const std::size_t frames = x.size() / kInput.values;
    std::vector<std::int64_t> y(frames * kOutput.values);
    const auto take = [&](std::size_t first, std::size_t count, const Buffers& from) {
        unpack(memory_.bytes + from.output, count, kOutput, y.data() + first * kOutput.values);
    };
    std::size_t before = 0, under_way = 0;  // the batch under way: its first frame, and how many
    for (std::size_t first = 0; first < frames; first += batch_) {
        const std::size_t number = first / batch_, count = std::min(batch_, frames - first);
        const Buffers &now = buffers_[number % 2], &last = buffers_[(number + 1) % 2];
        try {
            pack(x.data() + first * kInput.values, count, kInput, memory_.bytes + now.input);
        } catch (const AcceleratorError&) {
            if (under_way) finish(before, under_way);
            throw;
        }
        if (under_way) finish(before, under_way);
        start(now, count);
        if (under_way) take(before, under_way, last);
        before = first;
        under_way = count;
    }
    if (under_way) {
        finish(before, under_way);
        take(before, under_way, buffers_[before / batch_ % 2]);
    }
    return y;
}

std::vector<double> Accelerator::predict(const std::vector<double>& x) { return decode(predict_ints(encode(x))); }

std::vector<std::int64_t> Accelerator::encode(const std::vector<double>& x) const {
    const HostPart& host = known_host();
    if (x.size() % host.frame_values) {
        throw AcceleratorError(std::to_string(x.size()) + " values are no whole frames of " +
                               std::to_string(host.frame_values));
    }
    std::vector<std::int64_t> all;
    for (auto frame = x.begin(); frame != x.end(); frame += host.frame_values) {
        const std::vector<std::int64_t> one = encode_frame(host, {frame, frame + host.frame_values});
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

std::vector<double> Accelerator::decode(const std::vector<std::int64_t>& y) const {
    const HostPart& host = known_host();
    std::vector<double> all;
    for (auto frame = y.begin(); frame != y.end(); frame += kOutput.values) {
        const std::vector<double> one = decode_frame(host, {frame, frame + kOutput.values});
        all.insert(all.end(), one.begin(), one.end());
    }
    return all;
}

std::size_t Accelerator::self_test(const std::string& folder) {
    const auto known = [&](const char* name, const Stream& stream) {
        const std::vector<std::uint8_t> bytes = read_frames(folder + "/" + name, stream);
        std::vector<std::int64_t> values(bytes.size() / stream.frame_bytes * stream.values);
        unpack(bytes.data(), bytes.size() / stream.frame_bytes, stream, values.data());
        return values;
    };
    const std::vector<std::int64_t> x = known("known_input.hex", kInput), expected = known("known_output.hex", kOutput);
    const std::vector<std::int64_t> y = predict_ints(x);
    if (y.size() != expected.size()) throw AcceleratorError("known_input.hex and known_output.hex do not fit");
    for (std::size_t i = 0; i < y.size(); ++i) {
        if (y[i] != expected[i]) {
            throw AcceleratorError("self test: frame " + std::to_string(i / kOutput.values) + ", value " +
                                   std::to_string(i % kOutput.values) + ": expected " + std::to_string(expected[i]) +
                                   ", got " + std::to_string(y[i]));
        }
    }
    return y.size();
}

Measured Accelerator::measure(const std::string& folder, std::size_t frames) {
    const std::vector<std::uint8_t> bytes = read_frames(folder + "/known_input.hex", kInput);
    const std::size_t known = bytes.size() / kInput.frame_bytes;
    std::vector<std::int64_t> some(known * kInput.values), x;
    unpack(bytes.data(), known, kInput, some.data());
    while (x.size() < frames * kInput.values) x.insert(x.end(), some.begin(), some.end());
    x.resize(frames * kInput.values);
    const auto start = Clock::now();
    predict_ints(x);
    const double all = seconds_since(start);
    const std::map<std::string, double> watts = power();
    const std::vector<std::int64_t> one(x.begin(), x.begin() + kInput.values);
    std::vector<double> calls;
    for (int i = 0; i < 100; ++i) {
        const auto begin = Clock::now();
        predict_ints(one);
        calls.push_back(1e6 * seconds_since(begin));
    }
    std::nth_element(calls.begin(), calls.begin() + 50, calls.end());
    return {frames / all, calls[50], watts};
}

}  // namespace flow
