"""What became of a sweep's jobs. They may run in other processes, so each leaves a line in a folder that they share."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from acdc_cli.commands.console import print_error, rank
from acdc_cli.commands.job_process import is_stopping
from acdc_cli.commands.launchers import use_own_launchers
from acdc_cli.config.command_line import NO_RULES, as_typed
from acdc_cli.errors import (
    EXIT_BAD_INPUT,
    EXIT_DATA_MISSING,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    AcdcError,
    Interrupted,
    reason,
)

OUTCOMES = "outcomes.jsonl"


@dataclass(frozen=True)
class Ended:
    """How a sweep ended.

    Attributes:
        outcomes: of the jobs that began, in their order.
        error: what the launcher failed with.
    """

    outcomes: list[dict[str, Any]]
    interrupted: bool
    error: AcdcError | None


def run_sweep(launch: Callable[[Path], None]) -> Ended:
    """Let ``launch`` run the jobs, which report to the folder that it is given, and collect what became of them."""
    use_own_launchers()
    folder = Path(tempfile.mkdtemp(prefix="acdc-sweep-"))
    interrupted, error = False, None
    try:
        launch(folder)
    except KeyboardInterrupt:
        interrupted = True
    except AcdcError as of_launcher:
        error = of_launcher
    finally:
        outcomes = collect_outcomes(folder)
    return Ended(outcomes, interrupted, error)


def record_outcome(job: Callable[[], str | None]) -> None:
    """Do one job and put on record how it ended. Only an interrupt gets out: it ends the sweep."""
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    outcome: dict[str, Any] = {"exit_code": EXIT_DONE, "run": None, "error": None}
    try:
        if is_stopping(folder):
            raise KeyboardInterrupt
        outcome["run"] = job()
    except AcdcError as error:
        outcome |= {"exit_code": error.exit_code, "error": str(error)}
        print_error(error)
        if isinstance(error, Interrupted):
            _hand_on(error.signal_number)
            raise KeyboardInterrupt from None
    except (KeyboardInterrupt, SystemExit):  # the latter is submitit's, which has queued the job again
        outcome |= {"exit_code": EXIT_INTERRUPTED, "error": "interrupted"}
        raise
    except Exception as error:
        outcome |= {"exit_code": EXIT_FAILED, "error": f"{type(error).__name__}: {error}"}
        traceback.print_exc()
    finally:
        which = {"job": hydra.job.num, "rank": rank(), "overrides": typed(hydra.overrides.task)}
        report_outcome(folder, outcome | which)


def _hand_on(number: int | None) -> None:
    """Give a signal to whoever handles it outside our run: submitit queues its job again, and exits."""
    if number is None or not callable(signal.getsignal(number)):
        return
    try:
        signal.raise_signal(number)
    except Exception as error:  # submitit, when the job has had all its time
        print(f"acdc-train: {reason(error)}", file=sys.stderr)


def typed(overrides: Iterable[str]) -> list[str]:
    """A job's overrides as the user knows them."""
    return [
        as_typed(override).replace("\\:", ":") for override in overrides if override != NO_RULES
    ]  # Hydra escapes 2:4


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


def summarize(outcomes: list[dict[str, Any]], interrupted: bool, is_shown: bool = True) -> int:
    """Print one table of all jobs, and the reasons of those that failed. Returns the sweep's exit code.

    Args:
        is_shown: of several ranks one prints.
    """
    if is_shown:
        _show(outcomes)
    return sweep_exit_code([outcome["exit_code"] for outcome in outcomes], interrupted)


def _show(outcomes: list[dict[str, Any]]) -> None:
    from acdc_cli.records.folder import RunFolder
    from acdc_cli.report.table import NOTHING, RUN_COLUMNS, print_runs, run_row

    rows = []
    for outcome in outcomes:
        if outcome["run"] is not None:
            row = run_row(RunFolder(Path(outcome["run"])))
            rows.append([f"{' '.join(outcome['overrides'])}\n{row[0]}", *row[1:]])
        elif outcome["exit_code"] != EXIT_DONE:
            state = "interrupted" if outcome["exit_code"] == EXIT_INTERRUPTED else "failed"
            rows.append([" ".join(outcome["overrides"]), state, *[NOTHING] * (len(RUN_COLUMNS) - 2)])
    if rows:
        print_runs(rows, title="sweep")
    for outcome in outcomes:
        if outcome["error"] is not None:
            print(f"acdc-train: {' '.join(outcome['overrides'])}: {outcome['error']}", file=sys.stderr)


def sweep_exit_code(exit_codes: list[int], interrupted: bool) -> int:
    """0 when all are done, 75 if any was interrupted, else 2 if nothing could start, else 1."""
    if interrupted or EXIT_INTERRUPTED in exit_codes:
        return EXIT_INTERRUPTED
    if exit_codes and all(code == EXIT_DONE for code in exit_codes):
        return EXIT_DONE
    if all(code in (EXIT_BAD_INPUT, EXIT_DATA_MISSING) for code in exit_codes):
        return EXIT_BAD_INPUT
    return EXIT_FAILED
