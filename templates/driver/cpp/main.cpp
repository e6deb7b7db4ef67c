// SPDX-License-Identifier: Apache-2.0
// accelerator self-test|measure|predict FRAMES ANSWERS
//             [--uio uio0] [--udmabuf udmabuf0] [--folder ..] [--batch N] [--timeout S]
// FRAMES and ANSWERS are files of float64, as numpy.ndarray.tofile writes them.
// Exit code 0 when all went well, 2 otherwise.
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "accelerator.hpp"

static std::vector<double> read_doubles(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const std::streamoff size = file ? std::streamoff(file.tellg()) : 0;
    std::vector<double> values(size / sizeof(double));
    file.seekg(0);
    if (!file.read(reinterpret_cast<char*>(values.data()), size) || size % sizeof(double)) {
        throw flow::AcceleratorError(path + " is no file of float64 that can be read");
    }
    return values;
}

static void write_doubles(const std::string& path, const std::vector<double>& values) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double));
    if (!file.flush()) throw flow::AcceleratorError(path + " cannot be written");
}

int main(int argc, char** argv) {
    std::map<std::string, std::string> given = {
        {"--uio", "uio0"}, {"--udmabuf", "udmabuf0"}, {"--folder", ".."}, {"--batch", "0"}, {"--timeout", "10"}};
    const std::string command = argc > 1 ? argv[1] : "";
    const int options = command == "predict" ? 4 : 2;
    bool understood = (command == "self-test" || command == "measure" || command == "predict") && argc >= options &&
                      argc % 2 == 0;
    for (int i = options; understood && i < argc; i += 2) {
        understood = given.count(argv[i]) != 0;
        given[argv[i]] = argv[i + 1];
    }
    if (!understood) {
        std::fprintf(stderr, "usage: %s self-test|measure|predict FRAMES ANSWERS [--uio uio0] [--udmabuf udmabuf0] "
                             "[--folder ..] [--batch N] [--timeout S]\n", argv[0]);
        return 2;
    }
    try {
        flow::Accelerator accelerator(flow::open_device(given["--uio"], given["--udmabuf"]),
                                      std::stoul(given["--batch"]), std::stod(given["--timeout"]));
        if (command == "self-test") {
            std::printf("self test: %zu integers compared, all equal\n", accelerator.self_test(given["--folder"]));
        } else if (command == "predict") {
            write_doubles(argv[3], accelerator.predict(read_doubles(argv[2])));
        } else {
            const flow::Measured found = accelerator.measure(given["--folder"]);
            std::printf("%.0f frames/s with the driver, %.0f planned; a call of one frame takes %.1f us\n",
                        found.frames_per_second, flow::kPlannedFramesPerSecond, found.call_us);
            for (const auto& supply : found.power_w) {
                std::printf("  power of %s: %.2f W\n", supply.first.c_str(), supply.second);
            }
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "accelerator: %s\n", error.what());
        return 2;
    }
    return 0;
}
