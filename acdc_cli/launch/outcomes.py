"""What became of a sweep's jobs. They may run in other processes, so each leaves a line in a folder that they share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from acdc_cli.config.command_line import NO_RULES, as_typed
from acdc_cli.errors import EXIT_BAD_INPUT, EXIT_DATA_MISSING, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED

OUTCOMES = "outcomes.jsonl"


def typed(overrides: Iterable[str]) -> list[str]:
    """A job's overrides as the user knows them."""
    kept = (as_typed(override) for override in overrides if override != NO_RULES)
    return [override.replace("\\:", ":") for override in kept]  # Hydra escapes 2:4


def report_outcome(folder: Path, outcome: dict[str, Any]) -> None:
    """Leave a line in the folder that a sweep's jobs share."""
    with (folder / OUTCOMES).open("a") as file:
        file.write(json.dumps(outcome) + "\n")


def read_outcomes(folder: Path) -> list[dict[str, Any]]:
    """The jobs' last lines, in the order of the sweep; a job's first rank's, if several have left lines here."""
    path = folder / OUTCOMES
    outcomes = map(json.loads, path.read_text().splitlines() if path.is_file() else [])
    by_rank = sorted(outcomes, key=lambda outcome: outcome["rank"], reverse=True)
    last = {outcome["job"]: outcome for outcome in by_rank}  # a job may have been queued again
    return [last[job] for job in sorted(last)]


def collect_outcomes(folder: Path) -> list[dict[str, Any]]:
    """What ``read_outcomes`` says. Removes the folder, and what Hydra has put there."""
    outcomes = read_outcomes(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return outcomes


def sweep_exit_code(exit_codes: list[int], interrupted: bool) -> int:
    """0 when all are done, 75 if any was interrupted, else 2 if nothing could start, else 1."""
    if interrupted or EXIT_INTERRUPTED in exit_codes:
        return EXIT_INTERRUPTED
    if exit_codes and all(code == EXIT_DONE for code in exit_codes):
        return EXIT_DONE
    if all(code in (EXIT_BAD_INPUT, EXIT_DATA_MISSING) for code in exit_codes):
        return EXIT_BAD_INPUT
    return EXIT_FAILED
