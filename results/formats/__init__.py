"""What runs and comparisons are written as for other tools; ``formats.registry`` knows them by name."""
