"""hydra/launcher=submitit_local and submitit_slurm: each of a sweep's jobs apart, in one process or several ranks."""

from __future__ import annotations

import copy
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher, LocalLauncher, SlurmLauncher
from omegaconf import DictConfig, OmegaConf

from acdc_cli.config.command_line import quoted
from acdc_cli.errors import EXIT_FAILED, AcdcError, reason
from acdc_cli.launch.job_process import JobProcess, stopping_jobs
from acdc_cli.launch.launched import write_launched
from acdc_cli.launch.messages import say
from acdc_cli.launch.outcomes import read_outcomes, report_outcome, typed
from acdc_cli.system.signals import handled_by

FOLDER = ".submitit"  # in RUNS_DIR, which the machines of a cluster share; a temporary folder they do not


class _Jobs(BaseSubmititLauncher):
    """Hydra's launcher, and what it leaves out: a job that is lost does not keep it from waiting for the others."""

    def setup(self, *, task_function: Any, config: DictConfig, **others: Any) -> None:
        """Take what Hydra hands over before ``launch``."""
        super().setup(task_function=JobProcess(task_function), config=copy.deepcopy(config), **others)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs and wait for them.

        Raises:
            AcdcError: if they could not be submitted.
        """
        assert self.config is not None
        reports = Path(self.config.hydra.sweep.dir)  # where the sweep looks for outcomes; the jobs may not see it
        folder = _new_folder(self.config)
        write_launched(folder, initial_job_idx + len(job_overrides), are_parallel=False)  # each prints to its own file
        overrides_of = dict(enumerate(job_overrides, initial_job_idx))
        with self._signals(folder):
            jobs = self._submit(folder, overrides_of)
            say(f"submitit jobs {', '.join(job.job_id for job in jobs.values())}; their output goes to {folder}")
            lost = {number: error for number, job in jobs.items() if (error := _ended(job)) is not None}
        _collect(folder, reports, overrides_of, lost)
        return [JobReturn(_return_value=None, status=JobStatus.COMPLETED) for _ in jobs]

    def _submit(self, folder: Path, overrides_of: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        import submitit

        common = set(OmegaConf.structured(BaseQueueConf).keys())
        named = {key if key in common else f"{self._EXECUTOR}_{key}": value for key, value in self.params.items()}
        del named["submitit_folder"]
        timeouts = f"{self._EXECUTOR}_max_num_timeout"  # the executor's, and no parameter of its jobs
        of_executor = {timeouts: named.pop(timeouts)} if timeouts in named else {}
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides in overrides_of.items()
        ]
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=self._EXECUTOR, **of_executor)
            executor.update_parameters(**named)
            return dict(zip(overrides_of, executor.map_array(self, *zip(*arguments, strict=True)), strict=True))
        except (RuntimeError, ValueError, OSError) as error:
            _remove(folder)
            raise AcdcError(f"hydra/launcher=submitit_{self._EXECUTOR}: {reason(error)}") from None

    def _signals(self, folder: Path) -> AbstractContextManager[None]:
        """What signals to the sweep's process do while it waits."""
        raise NotImplementedError


class LocalJobs(_Jobs, LocalLauncher):
    """Processes of this machine, which end with the sweep."""

    @contextmanager
    def _signals(self, folder: Path) -> Iterator[None]:
        with stopping_jobs(folder):
            yield

    def _submit(self, folder: Path, overrides_of: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        # Ctrl-C reaches all processes of a terminal, and submitit's would give the jobs a second. Ignored, it stays so
        # in what is started here; stopping_jobs hands it on.
        with handled_by(signal.SIG_IGN, [signal.SIGINT]):
            return super()._submit(folder, overrides_of)


class SlurmJobs(_Jobs, SlurmLauncher):
    """Jobs in SLURM's queue, which stay there whatever becomes of the sweep's process."""

    @contextmanager
    def _signals(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            say("the jobs stay in SLURM's queue: squeue --me shows them, scancel ends them")
            raise


def _new_folder(config: DictConfig) -> Path:
    """A folder for the jobs' reports and output; makes the config of the jobs say so."""
    parent = Path(str(config.runs_dir)).expanduser().absolute() / FOLDER
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix="sweep-"))
    except OSError as error:
        raise AcdcError(f"{parent}: {error.strerror}") from None
    config.hydra.sweep.dir = str(folder)
    config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
    return folder


def _ended(job: Any) -> Exception | None:
    """Wait for a job. What is wrong with it, if it has no result."""
    try:
        job.results()
    except Exception as error:  # anything can be: what matters is that the other jobs are waited for
        return error
    return None


def _collect(
    folder: Path, reports: Path, overrides_of: Mapping[int, Sequence[str]], lost: Mapping[int, Exception]
) -> None:
    """Pass the outcomes on, and keep the jobs' output if one has failed."""
    outcomes = read_outcomes(folder)
    reported = {outcome["job"] for outcome in outcomes}
    for number in lost.keys() - reported:
        error = f"its process ended without a word; the same command goes on; its output: {folder}"
        outcomes.append(
            {
                "exit_code": EXIT_FAILED,
                "run": None,
                "error": error,
                "job": number,
                "rank": 0,
                "overrides": typed(overrides_of[number]),
            }
        )
    for outcome in outcomes:
        report_outcome(reports, outcome)
    if all(outcome["exit_code"] != EXIT_FAILED for outcome in outcomes):
        _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents[:2]:  # another sweep may be using it; RUNS_DIR may be ours alone
        with suppress(OSError):
            parent.rmdir()
