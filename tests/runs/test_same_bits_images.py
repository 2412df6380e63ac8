"""Photographs through FFCV: whoever decodes what and however often it is killed, a run ends with one sparse model."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from console_process import ConsoleProcess
from helpers.training import check_same, position, train

from acdc_cli.records.folder import RunFolder, run_folders

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_ffcv")]

# Random crops and flips at 16 to 32 pixels, D S D S; 8 steps an epoch.
TYPED = [
    "dataset=imagenet",
    "model=resnet8",
    "loader=ffcv",
    "batch_size=32",
    "epochs=4",
    "dataset.crop_scale_min=0.35",
    "dataset.resolution=32",
    "dataset.train_resolution_start=16",
    "dataset.train_resolution_end=32",
    "dataset.ramp_start=0.25",
    "dataset.ramp_end=0.75",
    "dataset.resolution_multiple=8",
]


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(tmp_path_factory.mktemp("undisturbed"), images, *TYPED, "workers=1")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("workers", "images_a_task", "batches_ahead"),
    [
        (1, 3, 2),
        (2, 8, 4),
        (4, 8, 4),
        (4, 5, 3),
    ],
    ids=str,
)
def test_workers_and_how_batches_are_split_among_them(
    workers: int,
    images_a_task: int,
    batches_ahead: int,
    undisturbed: RunFolder,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More workers than this machine has cores are fewer otherwise: here as if it had four."""
    from acdc_cli.data.loading import ffcv_loader
    from acdc_cli.planning import settle as machine

    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(ffcv_loader, "IMAGES_A_TASK", images_a_task)
    monkeypatch.setattr(ffcv_loader, "BATCHES_AHEAD", batches_ahead)
    check_same(train(tmp_path, images, *TYPED, f"workers={workers}"), undisturbed)


@pytest.mark.exhaustive
def test_killed_inside_three_epochs(undisturbed: RunFolder, images: Path, tmp_path: Path) -> None:
    """With two workers, one and two again."""
    runs = tmp_path / "broken"
    typed = [*TYPED, "checkpoint.every_minutes=0"]
    for workers, at_least in ((2, (1, 3)), (1, (2, 1)), (2, (3, 5))):
        process = ConsoleProcess(runs, images, *typed, f"workers={workers}")
        process.wait_until(lambda least=at_least: (position(runs)[0], position(runs)[1] or 0) >= least)
        assert process.signal(signal.SIGKILL) == -signal.SIGKILL
        epoch, step = position(runs)
        assert (epoch, step or 0) >= at_least
    process = ConsoleProcess(runs, images, *typed)
    assert process.end() == 0, process.said
    assert "of the next" in process.said  # inside an epoch
    (run,) = run_folders(runs)
    check_same(run, undisturbed)
