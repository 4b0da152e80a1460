"""Turn one figure of the page into a standalone SVG with light and dark colours, as a README shows it."""

import re
from importlib.resources import files


def standalone(figure: str) -> str:
    """Return the SVG of a figure with the colours and fonts of the page inlined."""
    style = files("jobs.report").joinpath("style.css").read_text(encoding="utf-8")
    colours, _, rules = style.partition("* { box-sizing")
    marks = "\n".join(re.findall(r"^svg [.\w].*$", rules, re.MULTILINE))
    letters = 'svg { background: var(--page); font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }'
    opened, bracket, rest = figure.partition(">")
    named = opened.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{named}{bracket}<style>\n{colours}{letters}\n{marks}\n</style>{rest}\n"
