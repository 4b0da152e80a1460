"""`--column OURS=THEIRS`: columns that are read by another name."""

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
