"""hydra/launcher=basic, the default: a sweep's jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn

from acdc_cli.commands.launched import write_launched


class JobsInTurn(BasicLauncher):
    """Hydra's launcher, which also tells the jobs how many they are."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs."""
        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        write_launched(folder, initial_job_idx + len(job_overrides), are_parallel=False)
        return super().launch(job_overrides, initial_job_idx)
