"""Random kills of everything while a job and a server work: the output is equal, and no answer is wrong or a 500."""
