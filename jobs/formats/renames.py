"""Parse `--column OURS=THEIRS`, columns that have another name in the file, and `--columns`, those without a header."""

from collections.abc import Mapping

from rerank.errors import ConfigError


def parse_renames(pairs: list[str]) -> dict[str, str]:
    """Parse `["text=body"]` into {"text": "body"}. Raises ConfigError."""
    renames = {}
    for pair in pairs:
        ours, separator, theirs = pair.partition("=")
        if not (ours and separator and theirs):
            raise ConfigError(f"--column must be OURS=THEIRS such as text=body, got {pair!r}")
        renames[ours] = theirs
    return renames


def parse_columns(options: list[str], *tables: str) -> dict[str, tuple[str, ...]]:
    """Parse `["qid,pid", "corpus=pid,text"]` into the names of the columns by prefix, which is one of `tables` or none.

    Raises ConfigError.
    """
    by_name: dict[str, tuple[str, ...]] = {}
    for option in options:
        table, equals, names = option.rpartition("=")
        columns = tuple(name.strip() for name in names.split(","))
        if (equals and table not in tables) or not all(columns) or len(set(columns)) < len(columns):
            prefixes = " or ".join(f"{name}=…" for name in tables)
            raise ConfigError(f"--columns must be distinct names such as pid,text, or {prefixes}; got {option!r}")
        by_name[table] = columns
    return by_name


def by_table(renames: Mapping[str, str], *names: str) -> list[dict[str, str]]:
    """Split renames by table: bare columns belong to the first of `names`, `NAME.column` to the table of that name.

    Raises ConfigError for a prefix that is none of `names`.
    """
    first, *others = names
    by_prefix: dict[str, dict[str, str]] = {table: {} for table in ("", *others)}
    for ours, theirs in renames.items():
        table, _, column = ours.rpartition(".")
        if table not in by_prefix:
            tables = " or ".join(f"{name}.…" for name in others)
            raise ConfigError(f"--column {ours}={theirs}: expected a column of the {first}, or {tables}")
        by_prefix[table][column] = theirs
    return list(by_prefix.values())
