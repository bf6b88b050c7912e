"""Suites as pytest sees them: a cell is a test, its launches are made by the runner, the gate is inside the test."""
