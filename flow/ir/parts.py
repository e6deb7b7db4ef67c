# SPDX-License-Identifier: Apache-2.0
"""A batch of frames in parts, side by side on all cores."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """How many threads or programs may run side by side."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_parts(work: Callable[[slice], None], frames: int, size: int) -> None:
    """``work`` of each part of so many frames: numpy lets go of the interpreter while it computes.

    Each part sums its matrix products in one thread: those of BLAS itself would wait for one another, and leave
    everything that is no matrix product to one core.
    """
    from threadpoolctl import threadpool_limits  # here: only batches of images need it

    parts = [slice(first, min(first + size, frames)) for first in range(0, frames, size)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, parts):
            pass  # raises what a part raised
