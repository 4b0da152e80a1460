"""`rerank compare`: how two ranked outputs of the same queries differ, as a table, JSON and one HTML page."""
