"""Runs given one by one, each with its own overrides: those that a table lacks, those of a sweep that failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from acdc_cli.launch.hydra_main import run_listed_jobs
from acdc_cli.launch.launched import read_launched
from acdc_cli.launch.outcomes import read_outcomes
from acdc_cli.launch.sweep import Ended, record_outcome, run_sweep
from acdc_cli.launch.sweep_place import sweep_place
from acdc_cli.records.headline import headline_of
from acdc_cli.records.run_result import final_model, model_metric


def say(line: str) -> None:
    """One line for the user, on stderr."""
    print(f"acdc-report: {line}", file=sys.stderr, flush=True)


def run_listed(names: Sequence[str], overrides: Sequence[Sequence[str]], launcher: Sequence[str]) -> Ended:
    """Run them as a sweep. What fails is named with its reason, and the others go on.

    Args:
        names: to call the runs by.
        overrides: each one's, as typed.
        launcher: such as ``hydra/launcher=joblib``.
    """
    ended = run_sweep(partial(_launch, overrides, launcher))
    for outcome in ended.outcomes:
        if outcome["error"] is not None:
            say(f"{names[outcome['job']]}: {outcome['error']}")
    return ended


def _launch(overrides: Sequence[Sequence[str]], launcher: Sequence[str], folder: Path) -> None:
    run_listed_jobs(overrides, launcher, listed_job, folder)


def listed_job(composed: DictConfig) -> None:
    """One of them: nothing that it raises may stop the others."""
    record_outcome(lambda: _run(composed))


def _run(composed: DictConfig) -> str:
    from acdc_cli.config.compose import complete
    from acdc_cli.training.execute import execute

    hydra = HydraConfig.get()
    config = complete(composed, hydra.runtime.choices.get("experiment"), list(hydra.overrides.task))
    folder = execute(config, say, sweep_place())
    result = folder.read_result()
    headline = headline_of(result)
    shown = headline.text(model_metric(final_model(result), headline.val_key))
    say(f"{folder.path.name}: {headline.label} {shown}, {result['seconds']:.0f} s{_left(Path(hydra.sweep.dir))}")
    return str(folder.path)


def _left(folder: Path) -> str:
    """How many runs of the round are still to come, and for how long at the pace so far."""
    launched, done = read_launched(folder), len(read_outcomes(folder)) + 1
    seconds = (time.time() - launched["began"]) / done * (launched["jobs"] - done)
    return f"; {done} of {launched['jobs']}, about {seconds / 60:.0f} min left"
