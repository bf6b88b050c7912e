"""What the harness claims of itself, measured afresh: ``python -m benchmarks`` lists it."""
