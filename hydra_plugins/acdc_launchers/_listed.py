"""hydra/sweeper=listed: jobs that are given one by one, each with overrides of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

JOBS = "jobs.json"  # in the folder that the jobs share: the overrides of each


class ListedJobs(Sweeper):
    """Hands a list of jobs to the launcher that ``hydra/launcher=...`` names."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over before ``sweep``."""
        self._jobs = json.loads((Path(config.hydra.sweep.dir) / JOBS).read_text())
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Sequence[JobReturn]:
        """Launch the jobs and wait for them."""
        return self._launcher.launch(self._jobs, initial_job_idx=0)
