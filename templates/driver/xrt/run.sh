#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs accelerator.py with XRT and its Python: sh run.sh self-test, sh run.sh measure, ...
set -e
cd "$(dirname "$0")"
# XRT's script is for bash; it names itself on standard output
exec bash -c '
    setup="${XILINX_XRT:-/opt/xilinx/xrt}/setup.sh"
    if [ -r "$setup" ]; then . "$setup" >/dev/null; fi
    exec python3 accelerator.py "$@"' run.sh "$@"
