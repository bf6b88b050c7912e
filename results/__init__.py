"""Records on disk, statistics, comparison, and what is derived from them."""
