# SPDX-License-Identifier: Apache-2.0
"""One frame through a network of processes and bounded streams: the inner loop of the event model.

Written in the part of Python that numba compiles; uncompiled it gives the same numbers, some hundred times slower.
Every array is one-dimensional, and of int64 unless it says otherwise.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from flow.ir.types import Ints

_NONE = np.iinfo(np.int64).max


@cache
def compiled() -> Callable[..., Ints]:
    """``run_frame`` as machine code; compiled at its first call, which takes seconds, and kept on disk."""
    import numba  # takes half a second: only where it is needed

    function: Any
    try:
        function = numba.njit(cache=True)(run_frame)
    except RuntimeError:  # neither this folder nor the user's cache can be written to
        function = numba.njit(run_frame)
    return function  # type: ignore[no-any-return]


def run_frame(
    first_port: Ints,
    port_stream: Ints,
    port_writes: Ints,
    first_step: Ints,
    steps: Ints,
    producer: Ints,
    consumer: Ints,
    depth: Ints,
    first_word: Ints,
    first_place: Ints,
    lag: Ints,
    freed: Ints,
    slot_written: Ints,
    slot_read: Ints,
    written: Ints,
    read: Ints,
) -> Ints:
    """Runs every process through all steps of its next frame, each as early as it can.

    A step takes place a cycle after the one before it or later, when every word that it reads was written in an
    earlier cycle, and every place that it writes to became free in an earlier cycle. The cycle of a step follows
    from those of others alone, so that the order in which processes are looked at here is of no account.

    Args:
        first_port: (processes + 1,): the ports of process p are ``first_port[p]`` to ``first_port[p + 1] - 1``.
        port_stream: (ports,): the stream at a port.
        port_writes: (ports,): 1 where the port writes to it, 0 where it reads.
        first_step: (ports + 1,): where the steps of a port begin in ``steps``.
        steps: The steps of a frame in which each port passes its words, in order.
        producer: (streams,): the process that writes a stream.
        consumer: (streams,): the one that reads it.
        depth: (streams,): words that it holds.
        first_word: (streams,): where its words begin in ``written`` and ``read``.
        first_place: (streams,): where its places begin in ``freed``.
        lag: (processes,): the earliest cycle of step 0; updated to that of the last step, less its number.
        freed: For each place of each stream the cycle in which its last word was read; updated.
        slot_written: (streams,): the place that is written next; updated.
        slot_read: (streams,): the place that is read next; updated.
        written: Gets the cycle in which each word is written.
        read: Gets the cycle in which it is read.

    Returns:
        (processes,): for each the port at which it waits for ever; -1 where it has finished its frame.
    """
    processes = len(first_port) - 1
    at = first_step[:-1].copy()
    due = np.empty(len(at), np.int64)  # the step in which each port passes its next word
    for port in range(len(at)):
        due[port] = steps[at[port]]
    words_written = np.zeros(len(depth), np.int64)
    words_read = np.zeros(len(depth), np.int64)
    blocked = np.full(processes, -1, np.int64)
    queue = np.arange(processes)
    queued = np.ones(processes, np.bool_)
    head, waiting = 0, processes
    while waiting:
        process = queue[head]
        head = (head + 1) % processes
        waiting -= 1
        queued[process] = False
        low, high = first_port[process], first_port[process + 1]
        lags = lag[process]
        moved = False
        while True:
            step = _NONE
            for port in range(low, high):
                step = min(step, due[port])
            blocked[process] = -1
            if step == _NONE:
                break
            time = lags + step
            for port in range(low, high):
                if due[port] == step:
                    stream = port_stream[port]
                    if port_writes[port]:
                        if words_written[stream] - words_read[stream] == depth[stream]:
                            blocked[process] = port
                            break
                        time = max(time, freed[first_place[stream] + slot_written[stream]] + 1)
                    else:
                        if words_written[stream] == words_read[stream]:
                            blocked[process] = port
                            break
                        time = max(time, written[first_word[stream] + words_read[stream]] + 1)
            if blocked[process] >= 0:
                break
            for port in range(low, high):
                if due[port] == step:
                    at[port] += 1
                    due[port] = steps[at[port]] if at[port] < first_step[port + 1] else _NONE
                    stream = port_stream[port]
                    if port_writes[port]:
                        written[first_word[stream] + words_written[stream]] = time
                        words_written[stream] += 1
                        slot = slot_written[stream] + 1
                        slot_written[stream] = slot if slot < depth[stream] else 0
                    else:
                        read[first_word[stream] + words_read[stream]] = time
                        words_read[stream] += 1
                        slot = slot_read[stream]
                        freed[first_place[stream] + slot] = time
                        slot_read[stream] = slot + 1 if slot + 1 < depth[stream] else 0
            lags = time - step
            moved = True
        lag[process] = lags
        if moved:
            for port in range(low, high):
                stream = port_stream[port]
                other = consumer[stream] if port_writes[port] else producer[stream]
                if not queued[other]:
                    queue[(head + waiting) % processes] = other
                    waiting += 1
                    queued[other] = True
    return blocked
