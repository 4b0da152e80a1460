"""What a reader of the pages would copy: fenced blocks, commands in them, and commands in running text."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language and its text."""

    place: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command as its words, and the output that the page shows below it."""

    text: str
    words: tuple[str, ...]
    output: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(f"{page.name}:{text.count(chr(10), 0, match.start()) + 1}", match[1], match[2])
        for match in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a console block: each begins with `$ ` and goes on while a quote is open."""
    lines = block.text.splitlines()
    assert lines[0].startswith("$ "), f"{block.place}: a console block must begin with a command"
    while lines:
        text = lines.pop(0).removeprefix("$ ")
        while (words := split(text)) is None:
            text += "\n" + lines.pop(0)
        output = []
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        yield Command(text, tuple(words), "\n".join(output))


def split(text: str) -> list[str] | None:
    """The words of a command without its comment; None where a quote is open."""
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return None


def inline_code(page: Path) -> list[str]:
    """The code spans of the running text, each on one line."""
    text = _FENCE.sub("", page.read_text())
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def links(page: Path) -> list[str]:
    """Relative targets of links and pictures, without what follows `#`."""
    targets = re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', _FENCE.sub("", page.read_text()))
    return [target.partition("#")[0] for target in map("".join, targets) if not target.startswith(("http", "#"))]
