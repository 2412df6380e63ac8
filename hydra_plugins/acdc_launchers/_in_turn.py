"""hydra/launcher=basic, the default: a sweep's jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from acdc_cli.launch.launched import write_launched


class JobsInTurn(Launcher):
    """What Hydra's own basic launcher does; it also tells the jobs how many they are."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over before ``launch``."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs."""
        setup_globals()
        folder = Path(self._config.hydra.sweep.dir)
        write_launched(folder, initial_job_idx + len(job_overrides), are_parallel=False)
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        return [self._run(number, overrides) for number, overrides in enumerate(job_overrides, initial_job_idx)]

    def _run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        done = run_job(self._task, config, "hydra.sweep.dir", "hydra.sweep.subdir", self._context)
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        return done
