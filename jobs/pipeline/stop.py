"""Stopping a job from outside, by SIGTERM (`ray job stop` gives three seconds) or Ctrl-C: a sentence, and an end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from jobs.console import plural
from rerank.store import ScoreStore
from rerank.store.upkeep import content

_GRACE_S = 1.5  # for Ray to end what it started; its processes end with ours in any case
_COUNT_S = 0.3
_TERMINATED = 128 + signal.SIGTERM


@dataclass(slots=True)
class Reached:
    """What a stopped job can say of itself: whether it scores yet, and into which store."""

    scoring: bool = False
    store: ScoreStore | None = None


@contextmanager
def stoppable() -> Iterator[Reached]:
    """While this runs, SIGTERM raises SystemExit(143) and Ctrl-C KeyboardInterrupt, after a word on what is kept.

    A process that SIGTERM does not end in time ends at once, and so does one that has not scored yet: what is scored is
    in the store, parts are staged, and Ray's processes end with ours. `ray.init` sets handlers of its own, `listen`
    puts these back. Does nothing outside the main thread.
    """
    reached = Reached()
    before = listen(reached)
    if not before:
        yield reached
        return
    try:
        yield reached
    except SystemExit as ending:
        if ending.code != signal.SIGTERM:
            raise
        _say(reached)  # Ray's own handler, while it starts
        os._exit(_TERMINATED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(reached: Reached) -> dict[signal.Signals, Any]:
    """Set the handlers, and give those that were there; none outside the main thread, which alone may set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}

    def stop(number: int, _frame: FrameType | None) -> None:
        _say(reached)
        if number != signal.SIGTERM:
            raise KeyboardInterrupt
        if not reached.scoring:
            os._exit(_TERMINATED)
        timer = threading.Timer(_GRACE_S, os._exit, [_TERMINATED])
        timer.daemon = True
        timer.start()
        raise SystemExit(_TERMINATED)

    return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}


def _say(reached: Reached) -> None:
    # Not by sys.stderr: the signal may have come in the middle of a write to it.
    os.write(2, f"\nrerank: stopped; {_kept(reached)}\n".encode())


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
    kept = f"{plural(counts[0], 'pair')} {'is' if counts[0] == 1 else 'are'}" if counts else "what was scored is"
    return f"{kept} in the score store, start again to go on"
