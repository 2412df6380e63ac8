"""Every option of a model, an experiment, a method and an optimizer trains for three steps on a miniature data set."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers.data_miniatures import prepare_miniature
from helpers.every_method import learns_sparsity

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.planning.settle import settle
from acdc_cli.training.build import build_run
from acdc_cli.training.group import ALONE
from acdc_cli.training.loop import evaluate, train_epoch
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.progress import Progress
from acdc_cli.training.run import Run

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = ("model", "experiment", "method", "optimizer")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
# `make test` runs a slice of them, another one each day; `make test-all` runs all.
SLICES = 21
TODAY = datetime.now(UTC).timetuple().tm_yday % SLICES
CASES = [
    pytest.param(*option, marks=() if index % SLICES == TODAY else pytest.mark.exhaustive)
    for index, option in enumerate(OPTIONS)
]
STEPS = 3
SMALL = ["batch_size=2", "threads=1", "tracker=none", "precision=fp32", "loader=torch"]
# What costs time or memory in proportion to the images, by data set and by method.
LOW_RESOLUTION = ["dataset.resolution=64"]
RISING = ["dataset.train_resolution_start=32", "dataset.train_resolution_end=64"]
FEW_GRADIENTS = ["method.fisher_samples=4", "method.fisher_batch=2", "method.fisher_block=2"]


class EnoughSteps(Exception):
    """Raised between two steps, where a run can be stopped."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature data sets, each made when the first case needs it."""
    return tmp_path_factory.mktemp("miniatures")


def small_config(group: str, option: str, folder: Path) -> Config:
    """The option as a run of a miniature of its data set; all else, its phases too, as its file says."""
    typed = [f"{group}={option}", *SMALL, f"data_dir={folder / 'data'}"]
    config = compose_config(typed)
    typed += prepare_miniature(config.dataset.name, folder / "sources", folder / "data")
    if config.dataset.name == "imagenet":
        typed += LOW_RESOLUTION
        if config.dataset.options.train_resolution_start is not None:
            typed += RISING
    if config.method.name == "woodfisher":
        typed += FEW_GRADIENTS
    return settle(compose_config(typed), lambda line: None)


def train_three_steps(run: Run, epoch: int) -> None:
    """The loop itself, stopped between two steps as a signal stops it."""
    progress = Progress("small", run.timeline, run.steps_per_epoch, 0, run.config.batch_size, is_shown=False)
    done = 0

    def save() -> None:
        nonlocal done
        done += 1
        if done == STEPS:
            raise EnoughSteps

    with suppress(EnoughSteps), Pauses(save, 0, ALONE, lambda line: None) as pauses:
        train_epoch(run, epoch, progress, pauses)
    assert run.part is not None and run.part.step == STEPS == done


def first_sparse_epoch(run: Run) -> int:
    """The epoch in which the first sparse phase begins; 0 without one."""
    return next((epoch for epoch in range(run.config.epochs) if run.timeline.phase(epoch).kind == "sparse"), 0)


def prunes_at_once(config: Config) -> bool:
    """Whether masks are there after three steps, by the method's keys: not if it begins later, or learns what goes."""
    return config.method.facts.makes_sparse_model and not (
        learns_sparsity(config.method.name) or getattr(config.method.options, "start", 0) > 0
    )


@pytest.mark.parametrize(("group", "option"), CASES)
def test_an_option_trains_three_steps(group: str, option: str, folder: Path) -> None:
    config = small_config(group, option, folder)
    data = config.task.options.prepared(config, lambda line: None)
    run = build_run(config, data, ALONE, lambda line: None)
    weights = [parameter for parameter in run.model.parameters() if parameter.ndim > 1]
    before = [weight.detach().clone() for weight in weights]
    train_three_steps(run, first_sparse_epoch(run))
    assert run.part is not None and math.isfinite(float(run.part.sums["loss"]))
    moved = [not weight.equal(old) for weight, old in zip(weights, before, strict=True)]
    assert sum(moved) > len(moved) / 2, f"{sum(moved)} of {len(moved)} weights moved"
    measured, _ = evaluate(run)
    assert all(value is None or math.isfinite(value) for value in measured.values()), measured
    masks, removed = run.method.masks, 0
    for name, mask in masks.items() if masks is not None and masks.enforced else ():
        assert not run.model.get_parameter(name)[~mask].any(), name
        removed += int((~mask).sum())
    assert removed or not prunes_at_once(config)
