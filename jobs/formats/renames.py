"""`--column OURS=THEIRS`: columns that are read by another name."""

from collections.abc import Mapping

from rerank.errors import ConfigError


def parse_renames(pairs: list[str]) -> dict[str, str]:
    """`["text=body"]` as {"text": "body"}. Raises ConfigError."""
    renames = {}
    for pair in pairs:
        ours, separator, theirs = pair.partition("=")
        if not (ours and separator and theirs):
            raise ConfigError(f"--column must be OURS=THEIRS such as text=body, got {pair!r}")
        renames[ours] = theirs
    return renames


def by_table(renames: Mapping[str, str], *names: str) -> list[dict[str, str]]:
    """The renames of the first table, whose columns stand bare, and of the others, whose columns follow `NAME.`.

    `names` are what the tables are called. Raises ConfigError where a column is of none of them.
    """
    first, *others = names
    found: dict[str, dict[str, str]] = {table: {} for table in ("", *others)}
    for ours, theirs in renames.items():
        table, _, column = ours.rpartition(".")
        if table not in found:
            tables = " or ".join(f"{name}.…" for name in others)
            raise ConfigError(f"--column {ours}={theirs}: expected a column of the {first}, or {tables}")
        found[table][column] = theirs
    return list(found.values())
