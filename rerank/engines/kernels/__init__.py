"""Kernels in C for what torch has no fast operator for; compiled when rerank is installed, if there is a C compiler."""
