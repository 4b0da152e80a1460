"""Rank candidate sets with cross-encoders: the library under the job and the server, free of Ray and HTTP."""
