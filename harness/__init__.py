"""From a suite file to records: the command line, the plan, the isolated worker, the clock."""

__version__ = "0.1.0"
