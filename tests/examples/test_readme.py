"""The table of examples."""

from tests.examples.conftest import EXAMPLES


def test_every_example_has_a_line_with_its_command():
    lines = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| [")]
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".ipynb"}}
    assert len(rows) == len(names)
    for name in names:
        (row,) = (row for row in rows if f"[{name}]({name})" in row)
        assert f"examples/{name}" in row.rsplit("|", 2)[-2]
