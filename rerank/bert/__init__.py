"""BERT classifiers read from their files alone: importing transformers and its models takes seconds of each process."""
