"""`rerank report`: one page that says what ran, whether it helped, where, and what it cost."""
