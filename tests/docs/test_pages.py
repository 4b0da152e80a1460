"""Everything that a reader would copy from the pages runs, or is checked against the commands that exist."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, inline_code, links
from tests.docs.reader import Reader
from tests.docs.rules import check_span

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.ray
@pytest.mark.timeout(600)  # a page holds up to eight runs of the job
@each_page
def test_every_block_does_what_the_page_says(page: Path, reader: Reader) -> None:
    kinds = {
        "console": reader.console,
        "python": reader.python,
        "pycon": reader.pycon,
        "text": reader.text,
        "yaml": reader.yaml,
    }
    for block in blocks(page):
        assert block.language in kinds, f"{block.place}: no rule covers {block.language!r}"
        kinds[block.language](block)


@each_page
def test_every_fence_is_a_block(page: Path) -> None:
    assert page.read_text().count("```") == 2 * len(blocks(page))


@each_page
def test_commands_and_options_in_running_text_exist(page: Path) -> None:
    for span in inline_code(page):
        check_span(span)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert not [target for target in links(page) if not (page.parent / target).exists()]


def test_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_pictures_are_small_and_fetch_nothing() -> None:
    for picture in (ROOT / "docs/images").glob("*.[ps][nv]g"):
        assert picture.stat().st_size < 300_000
        assert picture.suffix == ".png" or not fetches(picture)


def test_a_terminal_is_drawn_as_documented(tmp_path: Path) -> None:
    (tmp_path / "output.txt").write_text("\nDoes it help?\n│ nDCG@10 │ 0.428 │\n")
    command = [sys.executable, str(ROOT / "docs/images/terminal.py"), "output.txt", "demo.svg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert "nDCG@10" in (tmp_path / "demo.svg").read_text()
    assert not fetches(tmp_path / "demo.svg")


def fetches(picture: Path) -> bool:
    """Whether a browser would fetch something to draw the picture."""
    text = picture.read_text().replace('"', "").replace("'", "")
    return any(sign in text for sign in ("url(http", "href=http", "@import"))
