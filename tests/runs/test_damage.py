"""What a run does about damage in its own folder: it names the file, uses what is good, and makes again what it can."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.support import Command
from helpers.training import check_same, train
from hostile import QUICK, flip, make_old

from acdc_cli.config.compose import compose_config
from acdc_cli.errors import EXIT_DATA_MISSING, EXIT_FAILED, AcdcError
from acdc_cli.models.load import load_model
from acdc_cli.records.folder import RunFolder
from acdc_cli.report.comparison import compare
from acdc_cli.training.checkpoint import load_checkpoint
from acdc_cli.training.execute import execute
from acdc_cli.training.reevaluate import reevaluate


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), data_dir, *QUICK)


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that may be damaged."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "runs" / "default" / finished.path.name))


@pytest.fixture
def again(run: RunFolder, data_dir: Path) -> Callable[..., list[str]]:
    """The run's command once more; what it says."""

    def command(*more: str) -> list[str]:
        said: list[str] = []
        runs = run.path.parent.parent
        assert execute(compose_config([*QUICK, f"data_dir={data_dir}", f"runs_dir={runs}", *more]), said.append)
        return [line for line in said if not line.startswith("cpu with ") and line != run.path.name]

    return command


def test_a_flipped_bit_in_the_last_checkpoint_is_named_and_the_one_before_it_used(
    run: RunFolder, again: Callable[..., list[str]], finished: RunFolder
) -> None:
    run.write_status("running", 2)
    flip(run.checkpoint, run.checkpoint)
    named, resumed = again()
    assert named.startswith(f"{run.checkpoint}: damaged (its bytes are not those that its SHA-256 was made of)")
    assert named.endswith("going on from previous.pt, the one before it")
    assert resumed == f"resuming {run.path} after epoch 1/2"
    check_same(run, finished)
    for path in (run.checkpoint, run.previous_checkpoint):
        load_checkpoint(path, run.read_result()["run_id"])


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one_before_it(
    run: RunFolder, again: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the run is stopped before it has written another one."""
    run.write_status("running", 2)
    run.checkpoint.write_bytes(b"")
    good = run.previous_checkpoint.read_bytes()
    monkeypatch.setattr("acdc_cli.training.execute.run_epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(AcdcError, match="interrupted"):
        again()
    assert run.checkpoint.read_bytes() == good and run.checkpoints() == [run.checkpoint]


def test_a_lost_checkpoint_is_named_and_the_one_before_it_used(
    run: RunFolder, again: Callable[..., list[str]], finished: RunFolder
) -> None:
    run.write_status("running", 2)
    run.checkpoint.unlink()
    assert again()[0] == f"{run.checkpoint}: missing; going on from previous.pt, the one before it"
    check_same(run, finished)


def test_with_both_damaged_nothing_is_trained_and_the_line_says_what_to_do(
    run: RunFolder, again: Callable[..., list[str]], finished: RunFolder
) -> None:
    run.write_status("running", 2)
    for path in run.checkpoints():
        flip(path, path)
    for _ in range(2):
        with pytest.raises(AcdcError) as refused:
            again()
        assert refused.value.exit_code == EXIT_FAILED and "\n" not in str(refused.value)
        assert all(str(path) in str(refused.value) for path in (run.checkpoint, run.previous_checkpoint))
        assert str(refused.value).endswith("run.overwrite=true starts over")
    assert run.read_status()["state"] == "failed"
    again("run.overwrite=true")
    check_same(run, finished)


@pytest.mark.parametrize(
    "name", ["models/sparse.safetensors", "models/dense.safetensors", "models/masks.safetensors", "metrics.jsonl"]
)
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: flip(path, path)], ids=["missing", "bit"])
def test_what_a_finished_run_has_lost_is_made_again_without_training(
    name: str,
    damage: Callable[[Path], None],
    run: RunFolder,
    again: Callable[..., list[str]],
    finished: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(run.path / name)
    monkeypatch.setattr("acdc_cli.training.execute.run_epoch", lambda *_: pytest.fail("an epoch was trained"))
    named, resumed = again()
    assert named.startswith(f"{run.path / name}: ") and named.endswith("; making it again from the last checkpoint")
    assert resumed == f"resuming {run.path} after epoch 2/2"
    check_same(run, finished)
    assert again() == []


@pytest.mark.parametrize("name", ["models/sparse.safetensors", "result.json"])
def test_a_finished_run_without_a_checkpoint_is_left_as_it_is(
    name: str, run: RunFolder, again: Callable[..., list[str]]
) -> None:
    """It could only be trained again, and what is left of it would be gone."""
    shutil.rmtree(run.checkpoint.parent)
    (run.path / name).unlink()
    left = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(AcdcError) as refused:
        again()
    assert str(run.path / name) in str(refused.value) and "run.overwrite=true trains it again" in str(refused.value)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == left


def test_a_model_that_is_missing_or_cut_is_not_done(run: RunFolder, report: Command) -> None:
    path = run.models / "dense.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert not run.is_done and run.state() == "interrupted"
    listed = report(str(run.path.parent), "--runs", "--format", "csv")
    assert listed.stdout.splitlines()[1].split(",")[1] == "interrupted"
    assert f"{path}: damaged (" in listed.stderr and listed.stderr.count("\n") == 1


def test_masks_of_an_earlier_phase_are_named_and_the_run_is_done_all_the_same(
    run: RunFolder, again: Callable[..., list[str]]
) -> None:
    """The last checkpoint has the last masks alone."""
    path = run.masks / "epoch_001.safetensors"
    flip(path, path)
    (named,) = again()
    assert named.startswith(f"{path}: ") and "run.overwrite=true" in named and run.is_done


def test_sums_that_were_removed_are_missed(
    run: RunFolder, again: Callable[..., list[str]], finished: RunFolder, report: Command
) -> None:
    """Else nothing in the folder would be checked: here a model has changed as well."""
    run.sums.path.unlink()
    flip(run.models / "sparse.safetensors", run.path)
    assert not run.is_done and run.reason().startswith(f"{run.sums.path}: damaged (missing)")
    listed = report(str(run.path.parent), "--runs", "--format", "csv")
    assert f"{run.sums.path}: damaged (missing)" in listed.stderr
    assert again()[0] == f"{run.sums.path}: missing; making it again from the last checkpoint"
    check_same(run, finished)
    assert again() == []


def test_a_lost_report_is_drawn_again(run: RunFolder, again: Callable[..., list[str]]) -> None:
    before = run.report.read_bytes()
    run.report.unlink()
    assert again() == [f"{run.report}: missing; drawn again from the records"]
    assert run.report.read_bytes() == before and again() == []


@pytest.mark.parametrize("name", ["config.yaml", "result.json", "models/sparse.safetensors"])
@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_evaluating_what_is_damaged_is_exit_code_3_and_says_what_makes_it_again(
    name: str, has_checkpoint: bool, run: RunFolder
) -> None:
    flip(run.path / name, run.path)
    if not has_checkpoint:
        shutil.rmtree(run.checkpoint.parent)
    with pytest.raises(AcdcError) as refused:
        reevaluate(run.path, None, None, None)
    assert refused.value.exit_code == EXIT_DATA_MISSING and str(run.path / name) in str(refused.value)
    remedy = "the run's command makes it again" if has_checkpoint else "run.overwrite=true trains the run again"
    assert str(refused.value).endswith(remedy)


def test_a_model_that_is_not_there_is_missed_for_its_own_reason(run: RunFolder) -> None:
    """It was lost, or the run never makes it, or the run is not done."""

    def refused(kind: str) -> str:
        with pytest.raises(AcdcError) as error:
            load_model(run.path, kind)
        return str(error.value).removeprefix(f"{run.model(kind)}: missing; ")

    run.model("dense").unlink()
    assert refused("dense") == "the run's command makes it again"
    assert refused("sparse_best") == "the run was made without keep_best=true"
    run.write_status("failed", 1, "the disk was full")
    assert refused("dense") == "the run is not done: failed: the disk was full"


def test_a_folder_of_before_there_were_sums_is_read_and_gets_them_when_it_is_written(
    run: RunFolder, again: Callable[..., list[str]]
) -> None:
    make_old(run)
    assert run.is_done and again() == [] and not run.sums.path.exists()
    run.result.unlink()
    again()
    recorded = json.loads(run.sums.path.read_text())
    assert {"config.yaml", "metrics.jsonl", "result.json", "models/sparse.safetensors"} <= recorded.keys()


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_text("")], ids=["missing", "empty"]
)
def test_a_page_without_epochs_is_not_drawn(damage: Callable[[Path], None], run: RunFolder, report: Command) -> None:
    """In a folder of before there were sums, where nothing else notices."""
    make_old(run)
    damage(run.metrics)
    refused = report(str(run.path))
    assert refused.returncode == 3 and refused.stderr.count("\n") == 1
    assert f"{run.metrics}: damaged (no epochs in it)" in refused.stderr


def test_a_copy_of_a_folder_is_no_second_seed(run: RunFolder) -> None:
    copy = RunFolder(shutil.copytree(run.path, run.path.with_name("a-copy")))
    ((row,), left_out) = compare([run, copy])
    assert row.seeds == 1 and row.sparse_metric is not None and row.sparse_metric.deviation is None
    assert left_out == {str(copy.path): f"a copy of {run.path}: the same run counts once"}
    flip(run.result, run.result)  # then the other one is the run
    ((row,), left_out) = compare([run, copy])
    assert row.seeds == 1 and left_out.keys() == {str(run.path)}
