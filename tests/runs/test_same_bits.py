"""Same seed, same bits: for every loader and number of workers, before and after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import BIN, environment
from training import equal_bits, model_state, train

from acdc_cli.records.folder import RunFolder, run_folders

VARYING = {"seconds", "samples_per_second", "peak_memory_bytes"}


def without_times(run: RunFolder) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in VARYING} for row in run.read_metrics()]


def test_two_runs_of_one_config_are_the_same(tmp_path: Path, data_dir: Path) -> None:
    first, second = (train(tmp_path / name, data_dir) for name in ("first", "second"))
    for kind in ("sparse", "dense"):
        assert equal_bits(model_state(first, kind), model_state(second, kind))
    assert without_times(first) == without_times(second)


def test_another_seed_is_another_run(tmp_path: Path, data_dir: Path) -> None:
    first, second = train(tmp_path, data_dir, "epochs=2"), train(tmp_path, data_dir, "epochs=2", "seed=1")
    assert not equal_bits(model_state(first), model_state(second))


@pytest.mark.slow
@pytest.mark.parametrize("loader", [["loader=torch"], ["loader=torch", "workers=2"], ["loader=ffcv"]], ids=str)
def test_every_loader_trains_the_same_model(
    loader: list[str], tmp_path: Path, data_dir: Path, request: pytest.FixtureRequest
) -> None:
    if loader == ["loader=ffcv"]:
        request.getfixturevalue("needs_ffcv")
    reference = train(tmp_path / "reference", data_dir, "epochs=3")
    other = train(tmp_path / "other", data_dir, "epochs=3", *loader)
    assert equal_bits(model_state(reference), model_state(other))


def start(folder: Path, data_dir: Path, *overrides: str) -> subprocess.Popen:
    arguments = ["epochs=8", "threads=1", "tracker=none", f"data_dir={data_dir}", *overrides]
    return subprocess.Popen(
        [str(BIN / "acdc-train"), *arguments], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    )


def epochs_done(folder: Path) -> int:
    for run in run_folders(folder):
        try:
            return int(run.read_status().get("epoch", 0))
        except json.JSONDecodeError:
            pytest.fail("status.json was read half-written")
    return 0


# Dropout draws from PyTorch's generator at every step: its state must survive the crash.
WITH_DROPOUT = "model=wide_resnet_28_10 model.depth=10 model.width=1 dataset=digits optimizer.lr=0.02"


@pytest.mark.slow
@pytest.mark.parametrize("typed", ["loader=torch", "loader=device", f"loader=device {WITH_DROPOUT}"])
def test_killed_at_any_moment_and_repeated_it_ends_with_the_same_bits(
    typed: str, tmp_path: Path, data_dir: Path
) -> None:
    overrides = ["epochs=8", *typed.split()]
    undisturbed = train(tmp_path / "undisturbed", data_dir, *overrides)
    broken = tmp_path / "broken"
    broken.mkdir()
    # 8 epochs are D S D S D S D S: the first kill falls into a dense phase, the second into a sparse one.
    for epochs_before_kill in (2, 5):
        process = start(broken, data_dir, *overrides)
        while epochs_done(broken) < epochs_before_kill and process.poll() is None:
            time.sleep(0.005)
        time.sleep(0.05)  # into the next epoch
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    process = start(broken, data_dir, *overrides)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "resuming" in errors
    assert not list(broken.rglob("*.tmp"))
    (resumed,) = run_folders(broken)
    for kind in ("sparse", "dense"):
        assert equal_bits(model_state(undisturbed, kind), model_state(resumed, kind))
    assert without_times(undisturbed) == without_times(resumed)


@pytest.mark.slow
def test_sigterm_leaves_a_resumable_run_and_says_so(tmp_path: Path, data_dir: Path) -> None:
    process = start(tmp_path, data_dir, "loader=device", "epochs=40")
    while epochs_done(tmp_path) < 3 and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 75
    assert "Traceback" not in errors and "the same command goes on" in errors
    (run,) = run_folders(tmp_path)
    status = run.read_status()
    assert status["state"] == "interrupted" and status["epoch"] >= 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_resumed_run_discards_what_lay_beyond_its_checkpoint(tmp_path: Path, data_dir: Path) -> None:
    """A crash between checkpoint and record: the rows are written anew from the checkpoint."""
    run = train(tmp_path, data_dir)
    rows = without_times(run)
    run.metrics.write_text(run.metrics.read_text() + '{"epoch": 6, "pha')
    run.write_status("running", 6)
    os.unlink(run.result)
    assert without_times(train(tmp_path, data_dir)) == rows
    assert run.result.is_file() and run.is_done
