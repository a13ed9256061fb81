"""What is said before a wait, so that nobody takes it for a hang."""

import sys


def announce(doing: str, how_long: str = "up to a minute") -> None:
    """Say on standard error what is done once, and how long it takes."""
    print(f"metabench: {doing}: once, for {how_long}", file=sys.stderr, flush=True)
