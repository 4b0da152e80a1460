/* Raise it, and that of `library.py`, when a kernel is called in another way or computes something else. */
int rerank_kernels_version(void) { return 1; }
