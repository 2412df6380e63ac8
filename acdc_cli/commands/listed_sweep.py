"""A sweep over a list of jobs, each with overrides of its own, through Hydra's launchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.config.command_line import conf_dir, quoted, rewrite
from acdc_cli.config.schema import register_schema


def launch_jobs(
    jobs: Sequence[Sequence[str]], launcher: Sequence[str], folder: Path, task: Callable[[DictConfig], Any]
) -> None:
    """Run all jobs as ``hydra/launcher=...`` says: one after the other, in parallel, or on a cluster.

    Args:
        jobs: each one's overrides, as typed.
        launcher: overrides of Hydra's own node, such as ``hydra/launcher=joblib``.
        folder: where the jobs report to, see ``commands.sweep``.
        task: one job; an importable function, for it may run in another process.

    Raises:
        AcdcError: if there is no such launcher, or it fails.
        KeyboardInterrupt: if the sweep was stopped.
    """
    from acdc_cli.config.explain import explain

    register_schema()
    own = [f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=."]
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            config = loader.load_configuration("config", [*launcher, *own], RunMode.MULTIRUN)
            HydraConfig.instance().set_config(config)
            context = HydraContext(config_loader=loader, callbacks=Callbacks(config))
            plugin = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
            plugin.launch([rewrite(list(job)) for job in jobs], initial_job_idx=0)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from None
