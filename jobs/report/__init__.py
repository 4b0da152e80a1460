"""`rerank report`: one HTML page that shows what ran, whether it helped, where, and what it cost."""
