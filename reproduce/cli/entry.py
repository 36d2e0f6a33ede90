"""From how the command went to its exit code and its last line."""

import json
import sys

from data.common.errors import ReproduceError
from reproduce.core import console, ending, output


def main(argv: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    with ending.signals():
        try:
            with output.lasting():
                return _outcome(argv)
        except OSError as raised:  # of stdout, which took nothing more
            return _failed(ending.as_error(raised))
        except ending.Stopped as stopped:  # in the last moment
            return stopped.exit_code


def _outcome(argv: list[str] | None) -> int:
    try:
        try:
            from reproduce.cli.app import execute

            code = execute(sys.argv[1:] if argv is None else list(argv))
        except (SystemExit, Exception):
            ending.check()
            raise
        ending.check()
        return code
    except (ending.Stopped, KeyboardInterrupt) as stopped:
        print(f"reproduce: {ending.stopped_line()}", file=sys.stderr, flush=True)
        return getattr(stopped, "exit_code", 130)
    except Exception as raised:
        error = ending.as_error(raised)
        if console.is_quiet():  # with --json stdout holds a document all the same
            print(json.dumps({"error": str(error), "exit_code": error.exit_code}, indent=1))
        return _failed(error)


def _failed(error: ReproduceError) -> int:
    from data.common.text import printable

    print(f"reproduce: {printable(str(error))}", file=sys.stderr, flush=True)
    return error.exit_code
