"""Running what a table lacks: in rounds, for a fine-tuning can be named only when its run is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from acdc_cli.errors import EXIT_DONE
from acdc_cli.launch.listed_runs import run_listed, say
from acdc_cli.launch.outcomes import sweep_exit_code
from acdc_cli.tables.found import state_of
from acdc_cli.tables.jobs import Job, RowJobs, every_job

WAIT_SECONDS = 10.0


def run_missing(look: Callable[[], Sequence[RowJobs]], launcher: Sequence[str]) -> int:
    """Launch every run that is not done, wait for those that run elsewhere. Returns the exit code.

    What fails is tried once and named; the others go on.

    Args:
        look: the rows' runs and their states, as the records are when it is called.
        launcher: overrides such as ``hydra/launcher=joblib``.
    """
    tried, codes = set[str](), list[int]()
    while True:
        jobs = list(every_job(look()))
        todo = [job for job in jobs if job.state not in ("done", "running") and job.run_id not in tried]
        elsewhere = [job for job in jobs if job.state == "running"]
        if todo:
            tried |= {job.run_id for job in todo}
            ended = run_listed([job.folder.path.name for job in todo], [job.overrides for job in todo], launcher)
            codes += [outcome["exit_code"] for outcome in ended.outcomes]
            if ended.error is not None:
                raise ended.error
            if ended.interrupted:
                return sweep_exit_code(codes, interrupted=True)
        elif elsewhere:
            names = ", ".join(job.folder.path.name for job in elsewhere)
            say(f"waiting for {len(elsewhere)} that run elsewhere: {names}")
            _wait(elsewhere)
        else:
            return sweep_exit_code(codes, interrupted=False) if codes else EXIT_DONE


def _wait(jobs: Sequence[Job]) -> None:
    while any(state_of(job.folder) == "running" for job in jobs):
        time.sleep(WAIT_SECONDS)
