"""The command."""

from reproduce.cli.app import main

__all__ = ["main"]
