"""Records in, one HTML file out."""
