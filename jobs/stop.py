"""Stopping a job from outside, by SIGTERM (`ray job stop` gives three seconds) or Ctrl-C: a sentence, and an end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from rerank.store import ScoreStore
from rerank.store.upkeep import content

_GRACE_S = 1.5  # for Ray to end what it started; its processes end with ours in any case
_COUNT_S = 0.3


@dataclass(slots=True)
class Reached:
    """What a stopped job can say of itself: whether it scores yet, and into which store."""

    scoring: bool = False
    store: ScoreStore | None = None


@contextmanager
def stoppable() -> Iterator[Reached]:
    """While this runs, SIGTERM raises SystemExit(143) and Ctrl-C KeyboardInterrupt, after a word on what is kept.

    A process that SIGTERM does not end in time ends at once: what is scored is in the store, parts are staged. Must be
    entered after `ray.init`, which sets a handler of its own. Does nothing outside the main thread.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            timer = threading.Timer(_GRACE_S, os._exit, [128 + number])
            timer.daemon = True
            timer.start()
        # Not by sys.stderr: the signal may have come in the middle of a write to it.
        os.write(2, f"\nrerank: stopped; {_kept(reached)}\n".encode())
        raise SystemExit(128 + number) if number == signal.SIGTERM else KeyboardInterrupt

    reached = Reached()
    if threading.current_thread() is not threading.main_thread():
        yield reached
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield reached
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kept(reached: Reached) -> str:
    if not reached.scoring:
        return "nothing was scored yet, start again"
    if reached.store is None:
        return "nothing is kept without a score store, start again"
    store = reached.store
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(content(store).pairs), daemon=True)
    thread.start()
    thread.join(_COUNT_S)
    kept = f"{counts[0]:,} pairs are" if counts else "what was scored is"
    return f"{kept} in the score store, start again to go on"
