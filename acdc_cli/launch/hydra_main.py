"""Handing a command line to Hydra: a sweep, and the flags that Hydra itself answers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.config.command_line import conf_dir, for_hydra, quoted, rewrite, user_dirs
from acdc_cli.config.schema import register_schema
from acdc_cli.launch.launchers import register_launchers

JOBS = "jobs.json"  # in the folder that the jobs of a list share: the overrides of each


def run_hydra(arguments: Sequence[str], job: Callable[[DictConfig], Any]) -> None:
    """Let Hydra do what the command line says.

    Args:
        arguments: as Hydra understands them, without our short forms.
        job: is called with the config of each run; an importable function where other processes run the jobs.

    Raises:
        BadInput: one line for what Hydra refuses.
    """
    register_schema()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback and exits on its own
    sys.argv[1:] = for_hydra(list(arguments))
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        from acdc_cli.config.explain import explain

        raise explain(error) from None


def run_jobs(arguments: Sequence[str], job: Callable[[DictConfig], Any], folder: Path) -> None:
    """Run the jobs of a sweep as ``hydra/launcher=...`` says: one after the other, in parallel, or on a cluster.

    Args:
        arguments: see ``run_hydra``; ``-m`` is among them.
        job: see ``run_hydra``.
        folder: where the jobs report to, see ``launch.outcomes``.

    Raises:
        AcdcError: if there is no such launcher, or it fails.
        KeyboardInterrupt: if the sweep was stopped.
    """
    register_launchers()
    dirs = [f"hydra.searchpath=[{','.join(f'file://{each}' for each in user_dirs())}]"] if user_dirs() else []
    run_hydra([*arguments, *dirs, f"hydra.sweep.dir={quoted(str(folder))}", "hydra.sweep.subdir=."], job)


def run_listed_jobs(
    jobs: Sequence[Sequence[str]], launcher: Sequence[str], job: Callable[[DictConfig], Any], folder: Path
) -> None:
    """The same for a list of jobs, each with overrides of its own.

    Args:
        jobs: the overrides of each, as typed.
        launcher: overrides of Hydra's own node, such as ``hydra/launcher=joblib``.
    """
    (folder / JOBS).write_text(json.dumps([for_hydra(rewrite(list(overrides))) for overrides in jobs]))
    run_jobs(["-m", "hydra/sweeper=listed", *launcher], job, folder)
