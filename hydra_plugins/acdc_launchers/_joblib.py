"""hydra/launcher=joblib: a sweep's jobs in parallel processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher

from acdc_cli.errors import AcdcError
from acdc_cli.launch.job_process import JobProcess, is_stopping, stopping_jobs
from acdc_cli.launch.launched import write_launched
from acdc_cli.system.signals import ignore_stop_signals


class JoblibJobs(JoblibLauncher):
    """Hydra's launcher, and what it leaves out: a signal lets every job finish its step and save."""

    def setup(self, *, task_function: Any, **others: Any) -> None:
        """Take what Hydra hands over before ``launch``."""
        super().setup(task_function=JobProcess(task_function), **others)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and wait for them.

        Raises:
            AcdcError: if one of the processes was killed: joblib ends the others too.
        """
        assert self.config is not None
        self.joblib["initializer"] = _begin_worker
        folder = Path(self.config.hydra.sweep.dir)
        write_launched(folder, initial_job_idx + len(job_overrides), are_parallel=True)
        with stopping_jobs(folder):
            try:
                return super().launch(job_overrides, initial_job_idx)
            except BrokenProcessPool:
                if is_stopping(folder):
                    raise KeyboardInterrupt from None
                raise AcdcError(
                    "a job's process was killed (out of memory?), and joblib has ended the others; the same command "
                    "goes on, with fewer at a time by hydra.launcher.n_jobs=N"
                ) from None


def _begin_worker() -> None:
    # A terminal signals all of a sweep's processes, and the sweep's own decides. How joblib starts processes is not for
    # those of a run, which share memory with it.
    ignore_stop_signals(0)
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # what the sweep hands on: a job hears it
    os.environ["TTY_COMPATIBLE"] = "0"  # lines: two bars on one terminal would overwrite each other
    multiprocessing.set_start_method(None, force=True)
