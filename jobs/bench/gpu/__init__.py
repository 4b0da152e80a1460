"""`python -m jobs.bench.gpu`: whether a GPU computes what a CPU computes, and how fast it is."""
