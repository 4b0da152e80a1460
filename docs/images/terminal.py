"""Draw what a command printed as a picture of a terminal: `python docs/images/terminal.py TEXT SVG`."""

import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text


def draw(text: str, title: str) -> str:
    """Return an SVG of the text that fetches nothing: rich's own names a web font, which is left out."""
    lines = text.rstrip().splitlines()
    console = Console(record=True, width=max(map(len, lines)), file=StringIO())
    for line in lines:
        console.print(Text.from_ansi(line))
    return re.sub(r"@font-face\s*{.*?}", "", console.export_svg(title=title), flags=re.DOTALL)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(source.read_text(), "make demo"))
