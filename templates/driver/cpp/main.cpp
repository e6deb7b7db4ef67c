// SPDX-License-Identifier: Apache-2.0
// accelerator self-test|measure [--uio uio0] [--udmabuf udmabuf0] [--folder ..] [--batch N] [--timeout S]
// Exit code 0 when all went well, 2 otherwise.
#include <cstdio>
#include <map>
#include <string>

#include "accelerator.hpp"

int main(int argc, char** argv) {
    std::map<std::string, std::string> given = {
        {"--uio", "uio0"}, {"--udmabuf", "udmabuf0"}, {"--folder", ".."}, {"--batch", "0"}, {"--timeout", "10"}};
    const std::string command = argc > 1 ? argv[1] : "";
    bool understood = (command == "self-test" || command == "measure") && argc % 2 == 0;
    for (int i = 2; understood && i < argc; i += 2) {
        understood = given.count(argv[i]) != 0;
        given[argv[i]] = argv[i + 1];
    }
    if (!understood) {
        std::fprintf(stderr, "usage: %s self-test|measure [--uio uio0] [--udmabuf udmabuf0] [--folder ..] [--batch N] "
                             "[--timeout S]\n", argv[0]);
        return 2;
    }
    try {
        flow::Accelerator accelerator(flow::open_device(given["--uio"], given["--udmabuf"]),
                                      std::stoul(given["--batch"]), std::stod(given["--timeout"]));
        if (command == "self-test") {
            std::printf("self test: %zu integers compared, all equal\n", accelerator.self_test(given["--folder"]));
        } else {
            const flow::Measured found = accelerator.measure(given["--folder"]);
            std::printf("%.0f frames/s with the driver, %.0f planned; a call of one frame takes %.1f us\n",
                        found.frames_per_second, flow::kPlannedFramesPerSecond, found.call_us);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "accelerator: %s\n", error.what());
        return 2;
    }
    return 0;
}
