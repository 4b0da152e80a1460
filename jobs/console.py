"""Where results go that a person reads."""

import sys

from rich.console import Console

_WIDTH = 140


def results_console() -> Console:
    """The standard output: as wide as the terminal, or wide enough for any table where it is a file or a pipe."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)


def say(sentence: str) -> None:
    """One line on stderr for a person who watches."""
    sys.stderr.write(f"reranking: {sentence}\n")
    sys.stderr.flush()


def plural(count: float, noun: str) -> str:
    """Return the count with its noun: `1 split`, `2,000 splits`, `1 query`, `2 queries`."""
    number = f"{int(count):,}" if count == int(count) else f"{count:,g}"
    if count == 1:
        return f"{number} {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"
