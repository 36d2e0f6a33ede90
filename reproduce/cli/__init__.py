"""The command. Old interpreters read this file before they are refused: nothing newer than Python 3.8 stands here."""

import sys

NEWEST = (3, 13)  # hydra-core 1.3 builds its parser in a way that Python 3.14 refuses


def cannot_work(version=sys.version_info[:2]):
    """Why the command cannot work on this interpreter or system; None where it can."""
    if not (3, 11) <= tuple(version) <= NEWEST:
        found = ".".join(map(str, version))
        return f"Python 3.11 to 3.13 is needed, this is {found}; hydra-core 1.3 works with no newer one."
    if sys.flags.optimize > 1:
        return "python -OO (PYTHONOPTIMIZE=2) takes docstrings away, which torchrl reads: run it without."
    try:
        import fcntl  # noqa: F401
    except ImportError:
        return "this system has no fcntl, by which runs are locked: use Linux, macOS, or WSL on Windows."
    return None


def main(argv=None):
    """Entry point; returns the exit code."""
    reason = cannot_work()
    if reason:
        print("reproduce: " + reason, file=sys.stderr)
        return 4
    from reproduce.cli.entry import main as entry

    return entry(argv)


__all__ = ["main"]
