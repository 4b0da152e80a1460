"""What files look like: Parquet, pair rows, TREC runs, judgements."""
