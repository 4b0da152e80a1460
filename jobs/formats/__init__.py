"""File formats: Parquet, pair rows, TREC runs, judgements."""
