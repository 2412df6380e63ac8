"""What the commands share: one-line errors and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from acdc_cli.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, AcdcError
from acdc_cli.plugins import load_announced_plugins, load_plugins

PLUGIN_HELP = "a module or file that registers parts which the run uses; may be given several times"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage text around it."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit as on any bad input."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def output_closed() -> int:
    """`acdc-train plan=true | head -1` has read enough: nothing more is printed, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILED


def run_command(
    name: str, parser: Parser, run: Callable[[argparse.Namespace], int], are_mixed: bool = False
) -> NoReturn:
    """Parse the command line, run, exit.

    Args:
        are_mixed: whether flags may stand between words of one list.
    """
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE|MODULE", help=PLUGIN_HELP)
    options = parser.parse_intermixed_args() if are_mixed else parser.parse_args()
    try:
        load_announced_plugins()
        load_plugins(options.plugin)
        code = run(options)
        sys.stdout.flush()  # here, where a closed pipe can still be told from a crash
    except AcdcError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        code = output_closed()
    except OSError as error:
        print(f"{name}: error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)
