"""Stop a job on SIGTERM (`ray job stop` allows three seconds) or Ctrl-C: say what is kept, and end in time."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from jobs.console import plural
from rerank.store import ScoreStore
from rerank.store.upkeep import content

_GRACE_S = 1.5  # Ray gets this long to end its processes; they end with ours in any case
_COUNT_S = 0.3  # for counting the pairs in the score store
_TERMINATED = 128 + signal.SIGTERM


@dataclass(slots=True)
class RunState:
    """How far a run is, for the sentence that a stopped run ends with: whether it scores yet, and into which stores."""

    scoring: bool = False
    stores: Sequence[ScoreStore] = ()  # one for each model


@contextmanager
def stoppable() -> Iterator[RunState]:
    """While the block runs, SIGTERM raises SystemExit(143) and Ctrl-C KeyboardInterrupt, and stderr says what is kept.

    After SIGTERM the process ends at once if it has not scored yet, or if it does not end in time: scores are in the
    store by then, parts are staged, and Ray's processes end with ours. `ray.init` replaces signal handlers, so
    `install_handlers` must be called after it. Does nothing outside the main thread.
    """
    state = RunState()
    before = install_handlers(state)
    if not before:
        yield state
        return
    try:
        yield state
    except SystemExit as ending:
        if ending.code != signal.SIGTERM:
            raise
        _say(state)  # raised by Ray's own handler, while Ray starts
        os._exit(_TERMINATED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def install_handlers(state: RunState) -> dict[signal.Signals, Any]:
    """Set the signal handlers and return the earlier ones; empty outside the main thread, where Python allows none."""
    if threading.current_thread() is not threading.main_thread():
        return {}

    def stop(number: int, _frame: FrameType | None) -> None:
        _say(state)
        if number != signal.SIGTERM:
            raise KeyboardInterrupt
        if not state.scoring:
            os._exit(_TERMINATED)
        timer = threading.Timer(_GRACE_S, os._exit, [_TERMINATED])
        timer.daemon = True
        timer.start()
        raise SystemExit(_TERMINATED)

    return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}


def _say(state: RunState) -> None:
    # Not through sys.stderr: the signal may have interrupted a write to it.
    os.write(2, f"\nrerank: stopped; {_what_is_kept(state)}\n".encode())


def _what_is_kept(state: RunState) -> str:
    if not state.scoring:
        return "nothing was scored yet, start again"
    if not state.stores:
        return "nothing is kept without a score store, start again"
    stores = state.stores
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(sum(content(store).pairs for store in stores)), daemon=True)
    thread.start()
    thread.join(_COUNT_S)
    kept = f"{plural(counts[0], 'pair')} {'is' if counts[0] == 1 else 'are'}" if counts else "what was scored is"
    return f"{kept} in the score store, start again to go on"
