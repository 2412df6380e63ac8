"""Stopped or killed anywhere inside epochs and repeated, a run ends with the bits of one that nobody disturbed."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from console_process import ConsoleProcess
from helpers.support import Command
from helpers.training import check_same, position, train

from acdc_cli.records.folder import run_folders
from acdc_cli.training import records

STEPS = 12
TYPED = ["epochs=4", "batch_size=120", "model.width=8"]  # D S D S
# Dropout draws from PyTorch's generator at every step.
WITH_DROPOUT = (
    "loader=device model=wide_resnet_28_10 model.depth=10 model.width=1 dataset=digits optimizer.lr=0.02 "
    "model.dropout=0.3"
)
FIRST, *OTHERS = "loader=device", "loader=torch workers=2", "loader=ffcv", WITH_DROPOUT
EXHAUSTIVE = pytest.mark.exhaustive


def needs(setting: str, request: pytest.FixtureRequest) -> list[str]:
    if "ffcv" in setting:
        request.getfixturevalue("needs_ffcv")
    return [*TYPED, *setting.split()]


@pytest.mark.slow
@pytest.mark.parametrize("setting", [FIRST, *(pytest.param(each, marks=EXHAUSTIVE) for each in OTHERS)])
def test_killed_inside_three_epochs(
    setting: str, tmp_path: Path, data_dir: Path, request: pytest.FixtureRequest
) -> None:
    """In two sparse epochs and a dense one, at random moments: whatever it was doing, some checkpoint was whole."""
    typed = needs(setting, request)
    undisturbed = train(tmp_path / "undisturbed", data_dir, *typed)
    runs, chance = tmp_path / "broken", random.Random(setting)
    said = []
    for epoch in (1, 2, 3):
        process = ConsoleProcess(runs, data_dir, *typed, "checkpoint.every_minutes=0")
        step = chance.randrange(1, STEPS - 2)
        process.wait_until(lambda least=(epoch, step): (position(runs)[0], position(runs)[1] or 0) >= least)
        time.sleep(chance.uniform(0, 0.03))
        assert process.signal(signal.SIGKILL) == -signal.SIGKILL
        said.append(process.said)
    process = ConsoleProcess(runs, data_dir, *typed, "checkpoint.every_minutes=0")
    assert process.end() == 0, process.said
    for text in [*said[1:], process.said]:
        assert re.search(rf"resuming .* after epoch \d/4, step \d+/{STEPS} of the next\n", text), text
    assert not list(runs.rglob("*.tmp"))
    (run,) = run_folders(runs)
    check_same(run, undisturbed)


@pytest.mark.exhaustive
def test_stopped_by_every_signal_inside_an_epoch(tmp_path: Path, data_dir: Path) -> None:
    """The signal itself makes a checkpoint, after the step that it falls into: the clock makes few."""
    typed = [*TYPED, "loader=device", "checkpoint.every_minutes=0.002"]  # 0.12 s, of epochs of half a second
    undisturbed = train(tmp_path / "undisturbed", data_dir, *typed)
    runs, reached = tmp_path / "stopped", None
    for epoch, number in ((1, signal.SIGTERM), (2, signal.SIGUSR1), (3, signal.SIGINT)):
        process = ConsoleProcess(runs, data_dir, *typed)
        process.wait_until(lambda least=(epoch, 1): (position(runs)[0], position(runs)[1] or 0) >= least)
        before = position(runs)
        assert process.signal(number) == 75, process.said
        assert f"{number.name}: finishing the step" in process.said and "Traceback" not in process.said
        (run,) = run_folders(runs)
        assert f"the same command goes on: {run.path}" in process.said
        if reached is not None:
            done, step = reached
            assert f"after epoch {done}/4, step {step}/{STEPS} of the next" in process.said
        reached = position(runs)
        status = run.read_status()
        assert (status["state"], status["epoch"]) == ("interrupted", reached[0])
        assert reached[0] == before[0] and reached[1] > before[1]
    process = ConsoleProcess(runs, data_dir, *typed)
    assert process.end() == 0, process.said
    check_same(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", ["loader=device", *(pytest.param(each, marks=EXHAUSTIVE) for each in ("loader=torch", "loader=ffcv"))]
)
def test_stopped_at_the_very_end_of_an_epoch(
    setting: str, program: Command, tmp_path: Path, data_dir: Path, request: pytest.FixtureRequest, monkeypatch: Any
) -> None:
    """After its last step, before it is evaluated: nothing is left of it to train. And then after its record."""
    typed = [*needs(setting, request), "epochs=2", "checkpoint.every_minutes=0"]
    undisturbed = train(tmp_path / "undisturbed", data_dir, *typed)
    save, saves = records.save_checkpoint, 0

    def save_and_signal(*arguments: Any) -> None:
        nonlocal saves
        save(*arguments)
        saves += 1
        if saves in (STEPS - 1, STEPS + 1):  # the first epoch's: one a step, one at its end
            signal.raise_signal(signal.SIGUSR2)

    monkeypatch.setattr(records, "save_checkpoint", save_and_signal)
    runs = tmp_path / "stopped"
    typed += ["device=cpu", "threads=1", "tracker=none", f"data_dir={data_dir}", f"runs_dir={runs}"]
    assert program(*typed).returncode == 75
    assert position(runs) == (0, STEPS)
    again = program(*typed)
    assert again.returncode == 75 and f"step {STEPS}/{STEPS} of the next" in again.stderr
    assert position(runs) == (1, None)
    assert program(*typed).returncode == 0
    (run,) = run_folders(runs)
    check_same(run, undisturbed)
