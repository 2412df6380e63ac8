"""What ranks cannot do is one line, from the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.support import Command, messages
from helpers.training import train
from torchrun_job import Ended, finished

import acdc_cli
from acdc_cli.training.checkpoint import save_checkpoint


def check_refused(ended: Ended, code: int, *parts: str) -> None:
    assert ended.code == 1
    assert code in ended.rank_codes and set(ended.rank_codes) <= {code, -15}  # torchrun may end the second rank
    (line,) = messages("\n".join(ended.said))
    assert all(part in line for part in parts), line
    assert str(Path(acdc_cli.__file__).parent) not in ended.errors  # no traceback but torchrun's own


@pytest.mark.exhaustive
def test_a_batch_that_two_ranks_cannot_halve(data_dir: Path, tmp_path: Path) -> None:
    ended = finished("batch_size=63", f"data_dir={data_dir}", f"runs_dir={tmp_path / 'runs'}")
    check_refused(ended, 2, "batch_size=63", "2 ranks", "nearest: batch_size=64")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_quasi_random_order_on_either_of_two_ranks(
    rank: int, program: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, which is told to be that rank: it is refused before the ranks have met."""
    for name, value in {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    ended = program("shuffle_window=512", "tracker=none")
    assert ended.returncode == 2 and ended.stdout == ""
    if rank == 0:
        (line,) = ended.stderr.splitlines()
        assert line.startswith("acdc-train: error: shuffle_window=512: ") and line.endswith("shuffle_window=null")
    else:
        assert ended.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_once_and_both_ranks_go_on_from_the_one_before(
    data_dir: Path, tmp_path: Path
) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    run.write_status("running", 2)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:-1] + b"x")
    ended = finished("loader=device", "epochs=2", "model.width=8", f"data_dir={data_dir}", f"runs_dir={tmp_path}")
    assert ended.code == 0 and ended.errors.count("going on from previous.pt") == 1, ended.errors
    assert run.is_done and run.faults() == []


@pytest.mark.exhaustive
def test_a_checkpoint_of_another_run(data_dir: Path, tmp_path: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    run.write_status("running", 1)
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    own_id, checkpoint["run_id"] = checkpoint["run_id"], "01234567"
    save_checkpoint(run.checkpoint, checkpoint)
    run.previous_checkpoint.unlink()
    ended = finished("loader=device", "epochs=2", "model.width=8", f"data_dir={data_dir}", f"runs_dir={tmp_path}")
    check_refused(ended, 1, str(run.checkpoint), "belongs to run 01234567", own_id, "run.overwrite=true")
    assert run.read_status()["state"] == "failed"
