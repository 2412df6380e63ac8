"""What a user can cause: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_DATA_MISSING, EXIT_INTERRUPTED = 0, 1, 2, 3, 75


class AcdcError(Exception):
    """Any failure that one line explains."""

    exit_code = EXIT_FAILED


class BadInput(AcdcError):
    """A key, value or combination that cannot be. The line names the key, the value and the nearest valid choice."""

    exit_code = EXIT_BAD_INPUT


class DataMissing(AcdcError):
    """Data that is not there or cannot be read. The line names the path and the command that makes it."""

    exit_code = EXIT_DATA_MISSING


class Interrupted(AcdcError):
    """Stopped; the same command goes on.

    Args:
        message: the line.
        signal_number: of the signal that it was, if it was one.
    """

    exit_code = EXIT_INTERRUPTED

    def __init__(self, message: str, signal_number: int | None = None) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class Elsewhere(AcdcError):
    """What went wrong for several ranks of a run, or for another one: the first rank says it.

    Args:
        error: that the ranks end with.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.exit_code = getattr(error, "exit_code", EXIT_FAILED)


def reason(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def typed_reason(error: BaseException) -> str:
    """The same behind the error's type, for errors of libraries, which may be nothing without it."""
    said = str(error).strip()
    return f"{type(error).__name__}: {said.splitlines()[0] if said else ''}"


def nearest(word: object, choices: Iterable[str]) -> str:
    """The choice whose spelling is nearest to what was typed."""
    choices = list(choices)
    begun = sorted(choice for choice in choices if choice.startswith(f"{word}_"))  # imagenet: imagenet_100, not _200
    return begun[0] if begun else difflib.get_close_matches(str(word), choices, n=1, cutoff=0.0)[0]


def not_a_choice(key: str, value: object, choices: Iterable[str]) -> BadInput:
    """The error for a value that is none of a closed list."""
    choices = list(choices)
    return BadInput(f"{key}={value}: did you mean {key}={nearest(value, choices)}? Choices: {', '.join(choices)}")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError the path that it is about: a write that fails does not say where."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
