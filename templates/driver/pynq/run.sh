#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs accelerator.py as root with the Python of PYNQ: sh run.sh self-test, sh run.sh measure, ...
set -e
cd "$(dirname "$0")"
if [ "$(id -u)" -ne 0 ]; then
    exec sudo -n sh run.sh "$@"
fi
# where images from 2.7 on keep their virtual environment, and the runtime of boards with UltraScale+
for script in /etc/profile.d/pynq_venv.sh /etc/profile.d/xrt_setup.sh; do
    if [ -r "$script" ]; then
        . "$script" >/dev/null
    fi
done
exec python3 accelerator.py "$@"
