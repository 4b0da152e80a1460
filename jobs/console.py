"""Output for a person to read: results on stdout, remarks on stderr."""

import sys

from rich.console import Console

_WIDTH = 140


def results_console() -> Console:
    """Return a console on stdout: as wide as the terminal, or wide enough for any table if it is a file or a pipe."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)


def say(sentence: str) -> None:
    """Write one line on stderr."""
    sys.stderr.write(f"reranking: {sentence}\n")
    sys.stderr.flush()


def plural(count: float, noun: str) -> str:
    """Return the count with its noun: `1 split`, `2,000 splits`, `1 query`, `2 queries`."""
    number = f"{int(count):,}" if count == int(count) else f"{count:,g}"
    if count == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"
