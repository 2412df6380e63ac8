"""Same seed, same bits: for every loader and number of workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.training import equal_bits, model_state, train, without_times


def test_two_runs_of_one_config_are_the_same(tmp_path: Path, data_dir: Path) -> None:
    first, second = (train(tmp_path / name, data_dir) for name in ("first", "second"))
    for kind in ("sparse", "dense"):
        assert equal_bits(model_state(first, kind), model_state(second, kind))
    assert without_times(first) == without_times(second)


def test_another_seed_is_another_run(tmp_path: Path, data_dir: Path) -> None:
    first, second = train(tmp_path, data_dir, "epochs=2"), train(tmp_path, data_dir, "epochs=2", "seed=1")
    assert not equal_bits(model_state(first), model_state(second))


@pytest.mark.slow
@pytest.mark.parametrize(
    "loader",
    [
        pytest.param(["loader=torch"], marks=pytest.mark.exhaustive),
        ["loader=torch", "workers=2"],
        ["loader=ffcv"],
    ],
    ids=str,
)
def test_every_loader_trains_the_same_model(
    loader: list[str], tmp_path: Path, data_dir: Path, request: pytest.FixtureRequest
) -> None:
    if loader == ["loader=ffcv"]:
        request.getfixturevalue("needs_ffcv")
    reference = train(tmp_path / "reference", data_dir, "epochs=3")
    other = train(tmp_path / "other", data_dir, "epochs=3", *loader)
    assert equal_bits(model_state(reference), model_state(other))


def test_a_resumed_run_discards_what_lay_beyond_its_checkpoint(tmp_path: Path, data_dir: Path) -> None:
    """A crash between checkpoint and record: the rows are written anew from the checkpoint."""
    run = train(tmp_path, data_dir)
    rows = without_times(run)
    run.metrics.write_text(run.metrics.read_text() + '{"epoch": 6, "pha')
    run.write_status("running", 6)
    os.unlink(run.result)
    assert without_times(train(tmp_path, data_dir)) == rows
    assert run.result.is_file() and run.is_done
