# SPDX-License-Identifier: Apache-2.0
"""A batch of frames in parts, side by side on all cores."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """How many threads or programs may run side by side."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_parts(work: Callable[[slice], None], frames: int, each: int, most: int) -> None:
    """``work`` of each part of a batch: numpy lets go of the interpreter while it computes.

    Each part sums its matrix products in one thread: those of BLAS itself would wait for one another, and leave
    everything that is no matrix product to one core.

    Args:
        work: Of some frames.
        frames: How many there are.
        each: Elements that a frame takes.
        most: Elements of a part, as far as a frame allows; a batch that takes no more is one part.
    """
    if frames * each <= most:
        work(slice(None))
        return
    from threadpoolctl import threadpool_limits  # here: only batches of images need it

    size = max(1, min(most // each, -(-frames // cores())))
    parts = [slice(first, min(first + size, frames)) for first in range(0, frames, size)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, parts):
            pass  # raises what a part raised
