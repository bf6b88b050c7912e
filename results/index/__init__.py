"""The index over every run of a folder: tables derived from its files, for questions that span runs."""
