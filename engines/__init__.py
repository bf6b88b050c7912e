"""One small file per inference runtime, and the exporters that feed them."""
