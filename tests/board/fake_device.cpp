// SPDX-License-Identifier: Apache-2.0
// The C++ driver on a device whose DMA is the compiled C-simulation.
//   fake_device run DESIGN.so FOLDER BATCH FAULT     self test twice, on the same driver when FAULT is over
//   fake_device predict DESIGN.so BATCH      float64 on standard input to float64 on standard output
//   fake_device power FOLDER                 what hwmon says
//   fake_device pack KIND BITS VALUES CONTAINER FRAME_BYTES    frames of integers on standard input to hexadecimal bytes
//                                                              and, after "|", to integers again
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "accelerator.hpp"

typedef int (*Words)(const unsigned char*, unsigned char*, long);

static std::string fault;

static void misuse(const char* what) {
    std::fprintf(stderr, "misuse: %s\n", what);
    std::exit(99);
}

class FakeDevice : public flow::Device {
public:
    explicit FakeDevice(Words words) : words_(words), memory_(1 << 16) {}
    std::uint32_t read(unsigned offset) override {
        Channel& channel = channels_[offset >= 0x30];
        switch (offset >= 0x30 ? offset - 0x30 : offset) {
            case 0x00: return fault == "stuck_reset" ? 0x4 : channel.running;
            case 0x04: return (channel.running ? 0 : 1) | (channel.busy ? 0 : 2) | channel.error;
            case 0x28: return channel.length;
        }
        misuse("read of another register");
        return 0;
    }
    void write(unsigned offset, std::uint32_t value) override {
        Channel& channel = channels_[offset >= 0x30];
        switch (offset >= 0x30 ? offset - 0x30 : offset) {
            case 0x00:
                if (value & 4) channels_[0] = channels_[1] = Channel();
                channel.running = value & 1;
                return;
            case 0x18: channel.address = (channel.address >> 32 << 32) | value; return;
            case 0x1C: channel.address = (std::uint64_t(value) << 32) | (channel.address & 0xFFFFFFFF); return;
            case 0x28: break;
            default: misuse("write of another register");
        }
        if (!channel.running || channel.busy || channel.error) misuse("a transfer on a channel that takes none");
        if (channel.address < kBase || channel.address + value > kBase + memory_.size()) misuse("no such memory");
        if (channel.address % 8 || value % 8 || !value) misuse("not aligned");
        channel.length = value;
        channel.busy = true;
        if (channels_[0].busy && channels_[1].busy) move();
        if (channels_[0].busy && !channels_[1].busy) misuse("sent before there is room for results");
    }
    flow::Memory memory() override { return {memory_.data(), kBase, memory_.size()}; }
    std::map<std::string, double> power() override { return {{"INT", 1.25}}; }

private:
    static constexpr std::uint64_t kBase = 0x380000000ULL;  // above 4 GiB
    struct Channel {
        bool running = false, busy = false;
        std::uint32_t error = 0, length = 0;
        std::uint64_t address = 0;
    };
    void move() {
        Channel &send = channels_[0], &receive = channels_[1];
        const std::size_t frames = send.length / flow::kInput.frame_bytes;
        if (frames * flow::kInput.frame_bytes != send.length) misuse("no whole frames");
        if (frames * flow::kOutput.frame_bytes != receive.length) misuse("room for another number of frames");
        std::uint8_t* results = memory_.data() + (receive.address - kBase);
        if (words_(memory_.data() + (send.address - kBase), results, long(frames))) misuse("C-simulation");
        send.busy = false;
        if (fault == "no_results") return;
        receive.busy = false;
        if (fault == "short") receive.length /= 2;
        if (fault == "last_low") receive.error = 0x10, receive.running = false;
        if (fault == "wrong") results[0] ^= 1;
    }
    Words words_;
    std::vector<std::uint8_t> memory_;
    Channel channels_[2];
};

static std::unique_ptr<flow::Device> device_of(const std::string& library) {
    void* loaded = dlopen(library.c_str(), RTLD_NOW);
    if (!loaded) misuse(dlerror());
    Words words;
    *reinterpret_cast<void**>(&words) = dlsym(loaded, "flow_csim_words");
    return std::unique_ptr<flow::Device>(new FakeDevice(words));
}

static int predict(const std::string& library, std::size_t batch) {
    std::vector<double> x;
    double value;
    while (std::cin.read(reinterpret_cast<char*>(&value), sizeof value)) x.push_back(value);
    try {
        flow::Accelerator accelerator(device_of(library), batch);
        for (double y : accelerator.predict(x)) std::cout.write(reinterpret_cast<const char*>(&y), sizeof y);
    } catch (const flow::AcceleratorError& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
    return 0;
}

static int run(const std::string& library, const std::string& folder, std::size_t batch) {
    try {
        flow::Accelerator accelerator(device_of(library), batch, 0.2);
        std::printf("batch %zu\n", accelerator.batch());
        try {
            std::printf("%zu equal\n", accelerator.self_test(folder));
        } catch (const flow::AcceleratorError& error) {
            std::printf("%s\n", error.what());
            fault.clear();
            accelerator.reset();
        }
        std::printf("%zu equal\n", accelerator.self_test(folder));
        std::vector<std::int64_t> bad(40 * flow::kInput.values, 0);
        bad.back() = 1000;
        try {
            accelerator.predict_ints(bad);
        } catch (const flow::AcceleratorError& error) {
            std::printf("%s\n", error.what());
        }
        const flow::Measured measured = accelerator.measure(folder, 100);
        if (measured.call_us <= 0 || measured.power_w.at("INT") != 1.25) misuse("no time, or no power");
    } catch (const flow::AcceleratorError& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
    return 0;
}

int main(int argc, char** argv) {
    if (std::string(argv[1]) == "run") {
        fault = argc > 5 ? argv[5] : "";
        return run(argv[2], argv[3], std::stoul(argv[4]));
    }
    if (std::string(argv[1]) == "predict") return predict(argv[2], std::stoul(argv[3]));
    if (std::string(argv[1]) == "power") {
        for (const auto& supply : flow::read_power(argv[2])) std::printf("%s: %g\n", supply.first.c_str(), supply.second);
        return 0;
    }
    const flow::Stream stream = {argv[2][0], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]), std::atoi(argv[6])};
    std::vector<std::int64_t> values;
    for (std::int64_t value; std::cin >> value;) values.push_back(value);
    const std::size_t frames = values.size() / stream.values;
    std::vector<std::uint8_t> bytes(frames * stream.frame_bytes, 0xA5);
    try {
        flow::pack(values.data(), frames, stream, bytes.data());
    } catch (const flow::AcceleratorError& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
    for (std::uint8_t byte : bytes) std::printf("%02x", byte);
    std::vector<std::int64_t> back(values.size());
    flow::unpack(bytes.data(), frames, stream, back.data());
    std::printf("|");
    for (std::int64_t value : back) std::printf(" %lld", (long long)value);
    return 0;
}
