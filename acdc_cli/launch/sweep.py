"""A sweep from its first job to its table: what is launched, and what has become of each job."""

from __future__ import annotations

import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from acdc_cli.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, AcdcError, Interrupted, reason
from acdc_cli.launch.job_process import is_stopping
from acdc_cli.launch.messages import print_error, rank, say
from acdc_cli.launch.outcomes import collect_outcomes, report_outcome, sweep_exit_code, typed


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
        say(reason(error))


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
            say(f"{' '.join(outcome['overrides'])}: {outcome['error']}")
