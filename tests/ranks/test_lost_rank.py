"""A rank that is killed ends the job, soon, and nothing of the run is lost: any number of ranks goes on with it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from helpers.training import equal_bits, model_state, train, without_times
from torchrun_job import DIGITS, END_SECONDS, Job, epochs_done, finished, only_run

pytestmark = pytest.mark.exhaustive


def test_killed_ranks_cost_nothing_but_the_steps_since_the_last_checkpoint(
    undisturbed: Path, data_dir: Path, tmp_path: Path
) -> None:
    """First rank 1, in a dense epoch, then rank 0, in a sparse one; then both finish, and then one alone."""
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    typed = [*DIGITS, f"data_dir={data_dir}", "checkpoint.every_minutes=0"]
    for rank, epochs, states in ((1, 2, ["interrupted"]), (0, 3, ["running", "interrupted"])):
        with Job(*typed, f"runs_dir={runs}") as job:
            job.wait_until(lambda at_least=epochs: epochs_done(runs) >= at_least)
            job.signal(signal.SIGKILL, [rank])
            ended = job.end()
        assert ended.code == 1 and ended.seconds < END_SECONDS
        assert sorted(ended.rank_codes)[0] == -signal.SIGKILL
        assert "Traceback" not in "".join(ended.said)
        status = only_run(runs).read_status()
        assert status["state"] in states and epochs <= status["epoch"] < 6
        if status["state"] == "running":
            assert not Path(f"/proc/{status['pid']}").exists()

    shutil.copytree(runs, alone)
    ended = finished(*typed, f"runs_dir={runs}")
    assert ended.code == 0, ended.errors
    assert [line for line in ended.said if "resuming" in line and "after epoch" in line]
    finished_run, expected = only_run(runs), only_run(undisturbed)
    assert finished_run.is_done and finished_run.path.name == expected.path.name
    for kind in ("sparse", "dense", "masks"):
        assert equal_bits(model_state(finished_run, kind), model_state(expected, kind))
    for row, expected_row in zip(without_times(finished_run), without_times(expected), strict=True):
        assert row.pop("train_loss") == pytest.approx(expected_row.pop("train_loss"), rel=1e-6)  # summed in parts
        assert row == expected_row

    interrupted = only_run(alone)
    train(alone, data_dir, *DIGITS)
    assert only_run(alone).path == interrupted.path and interrupted.is_done
    assert interrupted.read_result()["sparse"]["val_top1"] > 0.9
