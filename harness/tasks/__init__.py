"""What a model is for: pre-processing, post-processing, data sets and metrics."""
