"""The command line: the only place that wires rooms together."""

from unface.cli.app import main

__all__ = ["main"]
