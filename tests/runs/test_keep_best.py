"""keep_best=true: which models stay, that a kill anywhere changes none of their bits, and what starts from them.

Accuracies are written out here, so that the best epoch is not the last one on any machine; all else is a real run.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from console_process import ConsoleProcess
from helpers.training import check_same, equal_bits, model_state, position, train, without_times
from safetensors import safe_open

from acdc_cli.config.compose import compose_config
from acdc_cli.errors import AcdcError, BadInput, DataMissing, Interrupted
from acdc_cli.models.load import load_model
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.training import loop, records
from acdc_cli.training.execute import execute
from acdc_cli.training.reevaluate import reevaluate

SMALL = ["model.width=4", "batch_size=480", "precision=fp32", "sparsity=0.75", "keep_best=true"]
# D S D S D S: the best dense epoch is the third, the best sparse one the fourth.
ACDC = (0.9, 0.4, 0.95, 0.8, 0.7, 0.6)
ACDC_BEST = {"dense": 2, "sparse": 3}
# All epochs are sparse, each sparser than the one before, and less accurate: what is best only the end can tell.
STR = (0.9, 0.8, 0.7)
OF_STR = ["epochs=3", "method=str", "method.s_init=-5", "method.s_weight_decay=0.1", "lr_schedule=constant"]

BEFORE, AFTER, NEVER = "before the checkpoint", "after the checkpoint", "never"


def script(monkeypatch: pytest.MonkeyPatch, accuracies: tuple[float, ...]) -> None:
    """Let each epoch's evaluation find these accuracies."""
    evaluate = loop.evaluate

    def scripted(run: Any, keep: bool = False) -> tuple[dict[str, Any], Any]:
        measured, logits = evaluate(run, keep)
        return measured | {"val_top1": accuracies[run.epoch]}, logits

    monkeypatch.setattr(loop, "evaluate", scripted)


def capture(monkeypatch: pytest.MonkeyPatch) -> dict[int, dict[str, torch.Tensor]]:
    """The model in the checkpoint at each epoch's end."""
    save, states = records.save_checkpoint, dict[int, dict[str, torch.Tensor]]()

    def capturing(path: Path, state: dict[str, Any], previous: Path) -> None:
        save(path, state, previous)
        if (run := state["run"])["part"] is None:
            states[len(run["rows"]) - 1] = {name: each.clone() for name, each in run["model"].items()}

    monkeypatch.setattr(records, "save_checkpoint", capturing)
    return states


def kill(monkeypatch: pytest.MonkeyPatch, *moments: str) -> None:
    """End the program at these moments of the epochs' ends to come: nothing is written after them."""
    save, coming = records.save_checkpoint, iter(moments)

    def killed(path: Path, state: dict[str, Any], previous: Path) -> None:
        moment = next(coming, NEVER)
        if moment != BEFORE:
            save(path, state, previous)
        if moment != NEVER:
            raise KeyboardInterrupt

    monkeypatch.setattr(records, "save_checkpoint", killed)


@pytest.fixture(scope="module")
def acdc(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[RunFolder, dict[int, Any]]:
    """A run that nobody disturbed, and the models of its epochs."""
    with pytest.MonkeyPatch.context() as patch:
        script(patch, ACDC)
        states = capture(patch)
        return train(tmp_path_factory.mktemp("acdc"), data_dir, *SMALL), states


def test_the_models_are_those_of_the_best_epochs(acdc: tuple[RunFolder, dict[int, Any]]) -> None:
    run, states = acdc
    result = run.read_result()
    for kind, epoch in ACDC_BEST.items():
        assert (result[kind]["best_epoch"], result[kind]["best_val_top1"]) == (epoch, ACDC[epoch])
        assert equal_bits(model_state(run, f"{kind}_best"), states[epoch])
        with safe_open(run.model(f"{kind}_best"), framework="pt") as file:
            assert file.metadata()["epoch"] == str(epoch) and "mean" in file.metadata()
        row = run.read_metrics()[epoch]
        measured = reevaluate(run.path, f"{kind}_best", None, None)
        assert measured["val_loss"] == pytest.approx(row["val_loss"], rel=1e-5)
        assert measured["sparsity"] == row["sparsity"]
    kept = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    assert kept == ["last.pt", "previous.pt"]  # no candidate is left


def test_it_changes_no_number_and_false_is_as_if_nothing_was_said(
    acdc: tuple[RunFolder, dict[int, Any]], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, ACDC)
    run, _ = acdc
    without = train(tmp_path, data_dir, *SMALL, "keep_best=null")
    assert without.path.name != run.path.name  # else a run without the files would count as done
    assert without_times(without) == without_times(run)
    assert sorted(path.name for path in without.models.iterdir()) == [
        "dense.safetensors", "masks.safetensors", "sparse.safetensors",
    ]  # fmt: skip
    assert train(tmp_path, data_dir, *SMALL, "keep_best=false").path == without.path
    with pytest.raises(DataMissing, match="made without keep_best=true"):
        load_model(without.path, "sparse_best")


def test_killed_before_and_after_checkpoints(
    acdc: tuple[RunFolder, dict[int, Any]], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, ACDC)
    kill(monkeypatch, BEFORE, AFTER, NEVER, BEFORE, AFTER, BEFORE, NEVER, AFTER)
    for epochs in (0, 1, 2, 3, 3, 5):
        with pytest.raises(Interrupted):
            train(tmp_path, data_dir, *SMALL)
        assert position(tmp_path)[0] == epochs
    run = train(tmp_path, data_dir, *SMALL)
    check_same(run, acdc[0])
    for kind in ACDC_BEST:
        assert equal_bits(model_state(run, f"{kind}_best"), model_state(acdc[0], f"{kind}_best"))


def test_killed_while_the_end_is_put_on_record(
    acdc: tuple[RunFolder, dict[int, Any]], tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best models are in their places by then, and their epochs are long over."""
    script(monkeypatch, ACDC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "close_metrics", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted):
            train(tmp_path, data_dir, *SMALL)
    run = train(tmp_path, data_dir, *SMALL)
    for kind in ACDC_BEST:
        assert equal_bits(model_state(run, f"{kind}_best"), model_state(acdc[0], f"{kind}_best"))


def test_an_epoch_that_was_best_while_the_run_was_denser_gives_way(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every epoch stays in the race to the end, through kills; then only one as sparse as the last counts."""
    script(monkeypatch, STR)
    states = capture(monkeypatch)
    kill(monkeypatch, BEFORE, AFTER, AFTER)
    for _ in range(3):
        with pytest.raises(Interrupted):
            train(tmp_path, data_dir, *SMALL, *OF_STR)
    (run,) = run_folders(tmp_path)
    assert sorted(path.name for path in run.best_epochs.iterdir()) == ["epoch_000.safetensors", "epoch_001.safetensors"]
    train(tmp_path, data_dir, *SMALL, *OF_STR)
    sparsity = [row["sparsity"] for row in run.read_metrics()]
    assert sparsity[1] - sparsity[0] > 0.01 and sparsity[2] - sparsity[1] > 0.01, sparsity
    assert run.read_result()["sparse"]["best_epoch"] == 2 and run.read_result()["dense"] is None
    assert equal_bits(model_state(run, "sparse_best"), states[2])
    assert equal_bits(model_state(run, "sparse_best"), model_state(run, "sparse"))
    assert not run.model("dense_best").exists() and not run.best_epochs.exists()


def test_a_model_that_is_lost_is_named_when_the_run_goes_on(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, STR)
    kill(monkeypatch, NEVER, AFTER)
    with pytest.raises(Interrupted):
        train(tmp_path, data_dir, *SMALL, *OF_STR)
    (run,) = run_folders(tmp_path)
    run.best_candidate(1).unlink()  # the checkpoint has this one's weights
    saved = run.best_candidate(0).read_bytes()
    run.best_candidate(0).unlink()
    with pytest.raises(AcdcError, match=r"epoch_000\.safetensors: missing or damaged; .*epoch 1; run\.overwrite=true"):
        train(tmp_path, data_dir, *SMALL, *OF_STR)
    flipped = bytes([saved[-1] ^ 1])
    run.best_candidate(0).write_bytes(saved[:-1] + flipped)
    with pytest.raises(AcdcError, match=r"epoch_000\.safetensors: missing or damaged; "):
        train(tmp_path, data_dir, *SMALL, *OF_STR)
    run.best_candidate(0).write_bytes(saved)
    assert train(tmp_path, data_dir, *SMALL, *OF_STR).is_done


def test_fine_tuning_from_the_best_dense_epoch(
    acdc: tuple[RunFolder, dict[int, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains the same epochs at the same rates; what it starts from is told by what it first sees."""
    parent, states = acdc
    typed = ["finetune=dense", f"start_from={parent.path}", "tracker=none", f"runs_dir={tmp_path}"]
    started = dict[str, dict[str, torch.Tensor]]()
    run_epoch = loop.run_epoch
    tuned = dict[str, RunFolder]()
    for start in ("last", "best"):

        def noting(run: Any, *rest: Any, start: str = start) -> dict[str, Any]:
            started.setdefault(start, {name: each.clone() for name, each in run.model.state_dict().items()})
            assert not run.optimizer.state  # empty momentum
            return run_epoch(run, *rest)

        monkeypatch.setattr("acdc_cli.training.execute.run_epoch", noting)
        tuned[start] = execute(compose_config([*typed, f"finetune_start={start}"]), lambda line: None)
    assert equal_bits(started["last"], states[4]) and equal_bits(started["best"], states[2])
    assert [row["epoch"] for row in tuned["best"].read_metrics()] == [5]
    assert "finetuned-best" in tuned["best"].path.name and "best" not in tuned["last"].path.name
    assert compose_config([*typed, "finetune_start=last"]) == compose_config(typed)
    assert compose_config([*typed, "finetune_start=best"]).keep_best is None  # is the parent's own


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["finetune_start=best"], "says where finetune=dense starts; add finetune=dense"),
        (["finetune_start=first"], "finetune_start=first: .*best"),
        (["finetune=dense", "start_from={without}", "finetune_start=best"], "has no dense_best.* keep_best=true"),
    ],
)
def test_what_cannot_be(typed: list[str], said: str, acdc: tuple[RunFolder, dict[int, Any]], tmp_path: Path) -> None:
    run, _ = acdc
    without = tmp_path / "without"
    without.mkdir()
    for name in ("config.yaml", "status.json", "result.json", "checksums.json"):
        (without / name).write_text((run.path / name).read_text())
    with pytest.raises(BadInput, match=said) as refused:
        compose_config([word.format(without=without) for word in typed])
    assert "\n" not in str(refused.value)


@pytest.mark.exhaustive
def test_killed_for_real(tmp_path: Path, data_dir: Path) -> None:
    typed = [*SMALL, "epochs=4", "loader=device"]
    undisturbed = train(tmp_path / "undisturbed", data_dir, *typed)
    runs = tmp_path / "broken"
    for epoch in (1, 3):
        process = ConsoleProcess(runs, data_dir, *typed)
        process.wait_until(lambda least=epoch: position(runs)[0] >= least)
        assert process.signal(signal.SIGKILL) == -signal.SIGKILL
    process = ConsoleProcess(runs, data_dir, *typed)
    assert process.end() == 0, process.said
    (run,) = run_folders(runs)
    check_same(run, undisturbed)
    for kind in ("sparse_best", "dense_best"):
        assert equal_bits(model_state(run, kind), model_state(undisturbed, kind))
