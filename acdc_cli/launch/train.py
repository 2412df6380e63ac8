"""What acdc-train does: a run up to its summary, its plan, or a sweep with its table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from acdc_cli.config.compose import complete, compose_config
from acdc_cli.launch.messages import rank, say

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from acdc_cli.config.schema import Config
    from acdc_cli.training.progress import SweepPlace

WIDTH_WITHOUT_TERMINAL = 80  # columns


def run_overrides(overrides: list[str], extra_dir: str | None) -> None:
    """Do the run that these overrides describe. Nothing of Hydra's has a say in it.

    Raises:
        AcdcError: with the exit code for how it ended.
    """
    run_config(compose_config(overrides, extra_dir))


def run_by_hydra(arguments: list[str]) -> None:
    """Do one run inside Hydra's main program, or let it print a config. The run's error is carried past Hydra.

    Args:
        arguments: see ``hydra_main.run_hydra``.
    """
    from acdc_cli.launch.hydra_main import run_hydra

    errors: list[Exception] = []

    def job(composed: DictConfig) -> None:
        try:
            run_composed(composed)
        except Exception as error:  # of which Hydra would print lines of its own
            errors.append(error)

    run_hydra(arguments, job)
    if errors:
        raise errors[0]


def sweep(arguments: list[str]) -> int:
    """Do all jobs of a sweep, then print one table; jobs that are done already cost nothing.

    Args:
        arguments: see ``hydra_main.run_hydra``.

    Returns:
        The exit code.
    """
    from acdc_cli.launch.hydra_main import run_jobs
    from acdc_cli.launch.sweep import run_sweep, summarize

    ended = run_sweep(lambda folder: run_jobs(arguments, sweep_job, folder))
    code = summarize(ended.outcomes, ended.interrupted, is_shown=rank() == 0)
    if ended.error is not None:
        raise ended.error
    return code


def sweep_job(composed: DictConfig) -> None:
    """Do one job of a sweep. Nothing that it raises may stop the others."""
    from acdc_cli.launch.sweep import record_outcome

    record_outcome(lambda: run_composed(composed))


def run_composed(composed: DictConfig) -> str | None:
    """Do the run of Hydra's current job. Returns what ``run_config`` does."""
    from hydra.core.hydra_config import HydraConfig

    from acdc_cli.launch.sweep_place import sweep_place

    hydra = HydraConfig.get()
    config = complete(composed, hydra.runtime.choices.get("experiment"), list(hydra.overrides.task))
    return run_config(config, sweep_place())


def run_config(config: Config, sweep: SweepPlace | None = None) -> str | None:
    """Do, resume or show the run of a complete config, or print its plan.

    Returns:
        The run folder's path; None for a plan.
    """
    if config.plan:
        print_plan(config)
        return None
    from acdc_cli.planning.find import finished_run
    from acdc_cli.report.table import print_summary

    if (folder := finished_run(config, say if rank() == 0 else lambda line: None)) is None:
        from acdc_cli.training.execute import execute

        folder = execute(config, say, sweep)
    if rank() == 0:
        print_summary(folder)
    return str(folder.path)


def print_plan(config: Config) -> None:
    """Print JSON, and nothing else, on stdout; the same timeline for the eye on stderr."""
    from rich.console import Console

    from acdc_cli.planning.plan import plan
    from acdc_cli.planning.start_file import locate_start
    from acdc_cli.report.timeline_text import timeline_text
    from acdc_cli.sparsity.timeline import Phase

    planned = plan(locate_start(config))
    phases = re.compile(r"\[\s+(\"\w+\"),\s+(\d+),\s+(\d+)\s+\]")
    print(phases.sub(r"[\1, \2, \3]", json.dumps(planned, indent=2)))  # a phase a line
    console = Console(stderr=True, highlight=False)
    width = console.width if console.is_terminal else WIDTH_WITHOUT_TERMINAL
    console.print(timeline_text([Phase(*span) for span in planned["timeline"]], width), soft_wrap=True)
