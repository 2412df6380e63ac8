"""What the processes of a run and of a sweep say on stderr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from acdc_cli.errors import AcdcError, BadInput, Elsewhere, Interrupted
from acdc_cli.ranks import ranks_of


def say(line: str) -> None:
    """Print a line for the user of acdc-train."""
    print(f"acdc-train: {line}", file=sys.stderr)


def rank() -> int:
    """Return which of a run's processes this is."""
    with suppress(BadInput):  # said when the run begins
        return ranks_of(os.environ).rank
    return 0


def print_error(error: AcdcError) -> None:
    """Print acdc-train's line. The first rank says what all ranks have found; any other what it alone may have."""
    number = rank()
    if number == 0:
        say(f"error: {error}")
    elif not isinstance(error, (BadInput, Elsewhere, Interrupted)):
        say(f"error: rank {number}: {error}")
