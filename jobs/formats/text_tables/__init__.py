"""Tables in text files: JSON lines, CSV, TSV and TREC runs, read as streams of Arrow tables."""
