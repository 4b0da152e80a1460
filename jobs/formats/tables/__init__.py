"""Tables of many Parquet files: one schema for all files, and the keys of Hive partitions as columns."""
