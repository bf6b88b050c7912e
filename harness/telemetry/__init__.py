"""The machine's sensors while it is measured: one process beside the run samples them, its rows are cut by launch.

The measured process reads no sensor, and the parent sleeps meanwhile. ``docs/adr/0011-telemetry.md`` says why.
"""
