"""Compute batches in parallel on a CPU, each in its own thread.

If all cores work on the same batch, each operation waits for the slowest core. Measured on two cores, this costs 15 %
of the time, and 20 % if other processes use a tenth of the cores.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Barrier, local
from typing import TypeVar

import torch

_MOST_LANES = 8  # only one thread at a time can run the Python code of a forward
_LEAST_TOKENS_PER_COST = 4  # a batch is split for another lane only into parts of this many times a batch's cost
_LEAST_BATCHES = 0.5  # per lane; fewer batches are faster one after another, each on all cores

Batch = TypeVar("Batch")
Result = TypeVar("Result")


class ThreadLanes:
    """Threads that compute batches, with the cores shared out among them."""

    def __init__(self, threads: int, *, batch_cost: int) -> None:
        """Start the lanes, which share `threads` threads. Threads outside the lanes still compute on `threads` each.

        `batch_cost`: fixed overhead of one extra batch, expressed in tokens.
        """
        threads_per_lane = math.ceil(threads / _MOST_LANES)
        self.count = threads // threads_per_lane  # all lanes are equal, so that logits do not depend on the lane
        self.threads = ThreadPoolExecutor(self.count, thread_name_prefix="lane")
        self._least_tokens = _LEAST_TOKENS_PER_COST * batch_cost
        self._here = local()
        barrier = Barrier(self.count)

        def begin() -> None:
            torch.get_num_threads()  # the first call takes over the number that another thread has set last
            torch.set_num_threads(threads_per_lane)
            self._here.is_lane = True
            barrier.wait()

        wait([self.threads.submit(begin) for _ in range(self.count)])
        torch.set_num_threads(threads)  # for this thread and all later ones

    @property
    def contain_this_thread(self) -> bool:
        """Return whether the caller runs in a lane."""
        return getattr(self._here, "is_lane", False)

    def is_faster_in_parallel(self, batch_count: int) -> bool:
        """Return whether running `batch_count` batches in parallel is faster than one after another."""
        return batch_count > self.count * _LEAST_BATCHES

    def split_evenly(self, tokens: int) -> int:
        """Return how many of the `tokens` that are left the next batch gets, so that all lanes end together."""
        return tokens if tokens < 2 * self._least_tokens else max(self._least_tokens, tokens // self.count)

    def map(self, compute: Callable[[Batch], Result], batches: Sequence[Batch]) -> list[Result]:
        """Return the results in the order of the batches, computed without gradients.

        If a batch fails, raises its exception after all running batches have ended.
        """

        @torch.inference_mode()
        def work(batch: Batch) -> Result:
            return compute(batch)

        futures = [self.threads.submit(work, batch) for batch in batches]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.cancel()
        wait(futures)
        return [future.result() for future in futures]
