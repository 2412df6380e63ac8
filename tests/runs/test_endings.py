"""How a run can end, and what is left behind: exit code, one line, status."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.support import BIN, Command, environment, messages
from helpers.training import train

from acdc_cli.errors import AcdcError
from acdc_cli.planning.precision import automatic_dtype, processor_features
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.training.checkpoint import save_checkpoint

QUICK = ["epochs=2", "threads=1", "loader=device", "tracker=none"]


def one_line(errors: str) -> str:
    """The only line beside those that name a run and its machine, and those of its epochs."""
    lines = messages(errors)
    assert len(lines) == 1, errors
    return lines[0]


def test_a_finished_run_is_shown_and_left_alone(program: Command, tmp_path: Path) -> None:
    first = program(*QUICK)
    assert first.returncode == 0
    lines = [*first.stderr.splitlines(), *first.stdout.splitlines()]
    assert "precision=" in lines[0] and f"acdc-train: {run_folders(tmp_path)[0].path.name}" == lines[1]
    assert [line for line in lines if line != line.rstrip() or (len(line) > 80 and "report.html" not in line)] == []
    (run,) = run_folders(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    again = program(*QUICK)
    assert again.returncode == 0 and " sparse   0." in again.stdout and again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs"]  # no outputs/, no logs


def test_overwrite_starts_over(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    (run.path / "left-over").touch()
    train(tmp_path, data_dir, "epochs=2", "run.overwrite=true")
    assert run.is_done and not (run.path / "left-over").exists()


def test_a_diverging_run_fails_with_one_line(program: Command, tmp_path: Path) -> None:
    ended = program(*QUICK, "optimizer.lr=1e30", "lr_schedule.warmup_epochs=0")
    assert ended.returncode == 1
    assert "diverged in epoch 0" in one_line(ended.stderr) and "optimizer.lr" in ended.stderr
    (run,) = run_folders(tmp_path)
    assert run.read_status()["state"] == "failed" and "diverged" in run.read_status()["error"]


def test_a_signal_that_comes_while_the_end_is_put_on_record_waits_for_it(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchrun's does, which signals a rank that is just saying that it has lost another one."""
    write_status = RunFolder.write_status

    def signalled(self: RunFolder, state: str, epoch: int, error: str | None = None) -> None:
        if state != "running":
            signal.raise_signal(signal.SIGINT)
        write_status(self, state, epoch, error)

    monkeypatch.setattr(RunFolder, "write_status", signalled)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, data_dir, "epochs=2", "optimizer.lr=1e30", "lr_schedule.warmup_epochs=0")
    (run,) = run_folders(tmp_path)
    assert run.read_status()["state"] == "failed" and "diverged" in run.read_status()["error"]


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_a_bad_checkpoint_is_named(damage: str, program: Command, tmp_path: Path) -> None:
    assert program(*QUICK).returncode == 0
    (run,) = run_folders(tmp_path)
    run.write_status("running", 2)
    run.previous_checkpoint.unlink()
    if damage == "truncated":
        os.truncate(run.checkpoint, 1000)
    else:
        assert program(*QUICK, "seed=1").returncode == 0
        (other,) = (found for found in run_folders(tmp_path) if found.path != run.path)
        run.checkpoint.write_bytes(other.checkpoint.read_bytes())
    ended = program(*QUICK)
    assert ended.returncode == 1
    assert "last.pt" in one_line(ended.stderr) and "run.overwrite=true" in ended.stderr


def test_a_run_in_progress_is_not_run_twice(program: Command, tmp_path: Path) -> None:
    assert program(*QUICK).returncode == 0
    (run,) = run_folders(tmp_path)
    run.write_status("running", 1)
    descriptor = os.open(run.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        ended = program(*QUICK)
    finally:
        os.close(descriptor)
    assert ended.returncode == 1 and "another process" in one_line(ended.stderr)


def test_an_unwritable_runs_dir_is_one_line(program: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = program(*QUICK, "runs_dir=file")
    assert ended.returncode == 1 and "file" in one_line(ended.stderr)


def test_fp16_without_a_gpu_runs_as_what_auto_picks_and_is_recorded_so(program: Command, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ended = program(*QUICK, "precision=fp16")
    picked = automatic_dtype("cpu", processor_features())
    assert ended.returncode == 0 and f"running as {picked}" in one_line(ended.stderr)
    (run,) = run_folders(tmp_path)
    assert f"dtype: {picked}" in run.config.read_text()


@pytest.mark.slow
def test_a_sweep_goes_on_past_a_bad_job_and_skips_what_is_done(program: Command, tmp_path: Path) -> None:
    first = program("-m", *QUICK, "sparsity=0.8,1.5,2:4", "seed=0")
    assert first.returncode == 1  # two are done, one could not start
    assert "sparsity.target=1.5" in first.stderr and "Traceback" not in first.stderr
    assert "run 1 of 3: " in first.stderr and "run 3 of 3: " in first.stderr and "\x1b" not in first.stderr
    done = run_folders(tmp_path)
    assert {run.read_result()["sparsity_target"] for run in done if run.is_done} == {0.8, "2:4"}
    times = {run.path: run.result.stat().st_mtime_ns for run in done}
    second = program("-m", *QUICK, "sparsity=0.8,2:4", "seed=0")
    assert second.returncode == 0 and second.stdout.count("sparsity.target=") == 2
    assert {run.path: run.result.stat().st_mtime_ns for run in run_folders(tmp_path)} == times
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["default"]


@pytest.mark.slow
def test_a_sweep_in_which_nothing_can_start_exits_2(program: Command) -> None:
    ended = program("-m", *QUICK, "sparsity=1.5,2.5")
    assert ended.returncode == 2 and "Traceback" not in ended.stderr


def test_report_of_a_folder_of_runs_is_a_table(program: Command, report: Command, tmp_path: Path) -> None:
    assert program(*QUICK).returncode == 0
    table = report("runs/default", "--runs", "--format", "csv")
    assert table.returncode == 0
    header, row = table.stdout.splitlines()
    assert header.startswith("run,state,method,target") and row.split(",")[1:5] == ["done", "acdc", "0.9", "0.9000"]
    assert report("nowhere").returncode == 2
    (run,) = run_folders(tmp_path)
    run.report.unlink()
    assert report(str(run.path)).returncode == 0 and run.report.is_file()


def test_evaluate_prints_json_and_refuses_what_is_no_run(program: Command, command: Command, tmp_path: Path) -> None:
    import json

    assert program(*QUICK).returncode == 0
    (run,) = run_folders(tmp_path)
    measured = json.loads(command("acdc-eval", str(run.path), "--json").stdout)
    assert measured["val_top1"] == run.read_result()["sparse"]["val_top1"]
    refused = command("acdc-eval", "nowhere")
    assert refused.returncode == 2 and "nowhere" in one_line(refused.stderr)
    refused = command("acdc-eval", str(run.path), "--dataset", "digit")
    assert refused.returncode == 2 and "digits" in one_line(refused.stderr)


@pytest.mark.parametrize("left_in", ["clear", "status alone"])
def test_a_half_removed_run_is_not_taken_for_a_finished_one(left_in: str, tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    (run.status if left_in == "clear" else run.result).unlink()
    assert not run.is_done
    train(tmp_path, data_dir, "epochs=2")
    assert run.is_done and run.read_result()["epochs"] == 2


def test_what_a_killed_write_left_is_removed(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    (run.checkpoint.parent / ".last.pt.1.tmp").touch()
    run.write_status("running", 2)
    train(tmp_path, data_dir, "epochs=2")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    run.write_status("running", 2)
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    checkpoint["run"]["data"] = "0" * 64
    save_checkpoint(run.checkpoint, checkpoint)
    with pytest.raises(AcdcError, match="not the data that this run began with"):
        train(tmp_path, data_dir, "epochs=2")


def test_a_sweep_runs_in_a_folder_of_any_name(
    program: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "it's (a), copy=2"
    odd.mkdir()
    monkeypatch.chdir(odd)
    ended = program("-m", *QUICK, "seed=0,1")
    assert ended.returncode == 0, ended.stderr
    assert len(run_folders(odd)) == 2 and sorted(path.name for path in (odd / "runs").iterdir()) == ["default"]


def test_a_finished_model_is_freed(tmp_path: Path, data_dir: Path) -> None:
    """A sweep trains many in one process."""
    import gc
    import weakref

    from acdc_cli.config.compose import compose_config
    from acdc_cli.data.preparing.find import open_dataset
    from acdc_cli.planning.settle import settle
    from acdc_cli.training.build import build_run

    config = settle(compose_config([*QUICK, f"data_dir={data_dir}"]), print)
    run = build_run(config, open_dataset("digits", data_dir))
    weight = weakref.ref(run.model.conv1.weight)
    del run
    gc.collect()
    assert weight() is None


def test_a_floor_of_whole_weights_that_cannot_be_kept_is_refused_before_anything_is_built(
    program: Command, tmp_path: Path
) -> None:
    """0.005 of each of 8 layers, rounded up to whole weights, is a little more than 0.005 of all."""
    for extra in ([], ["plan=true"]):
        ended = program(*QUICK, "sparsity=0.995", *extra)
        assert ended.returncode == 2 and "min_layer_density" in one_line(ended.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_bad_jobs_with_an_interpolated_folder_does_not_pass_for_done(program: Command) -> None:
    ended = program("-m", *QUICK, "sparsity=1.5", "runs_dir=${oc.env:PWD}/r")
    assert ended.returncode == 2 and "sparsity.target=1.5" in ended.stderr


@pytest.mark.parametrize("file", ["result.json", "metrics.jsonl"])
def test_a_damaged_record_is_named_and_does_not_hide_the_other_runs(
    file: str, report: Command, tmp_path: Path, data_dir: Path
) -> None:
    damaged, _ = (train(tmp_path / "runs", data_dir, "epochs=2", f"seed={seed}") for seed in (0, 1))
    os.truncate(damaged.path / file, 100)
    refused = report(str(damaged.path))
    assert refused.returncode == 3 and file in one_line(refused.stderr) and "damaged" in refused.stderr
    if file == "result.json":
        table = report("runs", "--runs", "--format", "csv").stdout.splitlines()
        assert [line.split(",")[1] for line in table] == ["state", "damaged", "done"]
        compared = report("runs", "--format", "csv")
        assert len(compared.stdout.splitlines()) == 2 and "damaged" in one_line(compared.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.exhaustive
def test_a_reader_that_has_read_enough_is_no_error(unbuffered: str, tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2")
    variables = environment(PYTHONUNBUFFERED=unbuffered)  # buffered, the pipe is found closed only at the end
    for command in (f"{BIN}/acdc-eval {run.path} --json", f"{BIN}/acdc-train plan=true"):
        piped = subprocess.run(["bash", "-c", f"{command} | true"], capture_output=True, text=True, env=variables)
        said = [line for line in piped.stderr.splitlines() if not line.startswith(("█", "|0"))]  # the plan's timeline
        assert said == []
