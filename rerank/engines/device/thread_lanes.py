"""Batches side by side on a CPU, each in a thread of its own.

A batch whose operations are shared out to all cores waits at the end of each one for the slowest core; measured on two
cores, that and its handing over cost 15 % of the time, and 20 % where other processes take a tenth of the cores.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Barrier, local
from typing import TypeVar

import torch

_MOST = 8  # Python's own part of a forward is done by one thread at a time
_WORTH = 4  # times what a batch costs, in tokens: the smallest that two are made of one for another lane
_LEAST_BATCHES = 0.5  # per lane; fewer are faster one after the other, each on all cores

Batch = TypeVar("Batch")
Result = TypeVar("Result")


class ThreadLanes:
    """Threads that compute batches, with the cores shared out among them."""

    def __init__(self, threads: int, *, batch_cost: int) -> None:
        """Start them. Threads that compute outside of them go on to use `threads` each. `batch_cost` is what a
        batch more costs, in tokens.
        """
        each = math.ceil(threads / _MOST)
        self.count = threads // each  # all alike, so that a logit does not depend on its lane
        self.threads = ThreadPoolExecutor(self.count, thread_name_prefix="lane")
        self._least_tokens = _WORTH * batch_cost
        self._here = local()
        barrier = Barrier(self.count)

        def begin() -> None:
            torch.get_num_threads()  # a thread's first look takes over what was set last anywhere
            torch.set_num_threads(each)
            self._here.is_lane = True
            barrier.wait()

        wait([self.threads.submit(begin) for _ in range(self.count)])
        torch.set_num_threads(threads)  # for this thread and all that are yet to come

    @property
    def contain_this_thread(self) -> bool:
        """Whether the caller is in one of them."""
        return getattr(self._here, "is_lane", False)

    def is_faster_in_parallel(self, batches: int) -> bool:
        """Whether so many batches are computed sooner side by side than one after the other."""
        return batches > self.count * _LEAST_BATCHES

    def split_evenly(self, tokens: int) -> int:
        """Tokens of the next batch out of so many, so that all lanes end together."""
        return tokens if tokens < 2 * self._least_tokens else max(self._least_tokens, tokens // self.count)

    def map(self, compute: Callable[[Batch], Result], batches: Sequence[Batch]) -> list[Result]:
        """The results in the order of the batches, without gradients. Raises what the first of them raises that fails,
        when no other is at work any more.
        """

        @torch.inference_mode()
        def work(batch: Batch) -> Result:
            return compute(batch)

        asked = [self.threads.submit(work, batch) for batch in batches]
        wait(asked, return_when=FIRST_EXCEPTION)
        for future in asked:
            future.cancel()
        wait(asked)
        return [future.result() for future in asked]
