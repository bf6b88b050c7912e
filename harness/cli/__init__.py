"""The command line: the composition root, and the only place that knows every layer."""


def main() -> None:
    """Run the command line."""
