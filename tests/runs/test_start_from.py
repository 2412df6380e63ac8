"""Runs that begin where another one ended: fine-tuning, fixed masks, other weights; and batch norm estimated anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from helpers.training import model_state, train
from safetensors.torch import load_file
from torch.nn import functional as F

from acdc_cli.config.compose import compose_config
from acdc_cli.config.text import from_yaml
from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.errors import BadInput
from acdc_cli.models.load import load_model
from acdc_cli.planning.plan import plan
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity import prunable_weights
from acdc_cli.training.build import build_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> RunFolder:
    """D[0,1), (S1 D1) x 2 with the last D one epoch longer, S[6,8)."""
    return train(tmp_path_factory.mktemp("parent"), data_dir, "epochs=8", "schedule.final_sparse_epochs=2")


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, parent: RunFolder) -> RunFolder:
    from acdc_cli.training.execute import execute

    runs = tmp_path_factory.mktemp("finetuned")
    config = compose_config(["finetune=dense", f"start_from={parent.path}", "tracker=none", f"runs_dir={runs}"])
    return execute(config, lambda line: None)


def zeros(state: dict[str, torch.Tensor], name: str) -> int:
    return int((state[name] == 0).sum())


class TestFinetuneDense:
    def test_it_replaces_the_last_sparse_phase_at_the_same_learning_rates(
        self, parent: RunFolder, finetuned: RunFolder
    ) -> None:
        theirs, rows = parent.read_metrics(), finetuned.read_metrics()
        assert [row["phase"] for row in theirs[6:]] == ["sparse", "sparse"]
        assert [(row["epoch"], row["phase"]) for row in rows] == [(6, "dense"), (7, "dense")]
        assert [row["lr"] for row in rows] == [row["lr"] for row in theirs[6:]]

    def test_flops_are_those_of_both_over_one_dense_run(self, parent: RunFolder, finetuned: RunFolder) -> None:
        theirs, result = parent.read_result(), finetuned.read_result()
        dense_epoch = 3 * result["dense_inference_flops"] * 1437
        assert result["train_flops_total"] == theirs["train_flops_total"] + 2 * dense_epoch
        assert result["train_flops_fraction"] == pytest.approx(theirs["train_flops_fraction"] + 2 / 8)
        assert result["train_flops_fraction"] == pytest.approx(result["train_flops_total"] / (8 * dense_epoch))

    def test_it_leaves_a_dense_model_that_moved_on_from_the_partner(
        self, parent: RunFolder, finetuned: RunFolder
    ) -> None:
        result = finetuned.read_result()
        assert result["sparse"] is None
        assert result["dense"]["val_top1"] > 0.9
        assert not torch.equal(model_state(finetuned, "dense")["fc.weight"], model_state(parent, "dense")["fc.weight"])
        assert not (finetuned.models / "sparse.safetensors").exists()

    def test_the_plan_knows_both(self, parent: RunFolder) -> None:
        config = compose_config(["finetune=dense", f"start_from={parent.path}"])
        whole = plan(compose_config(["epochs=8", "schedule.final_sparse_epochs=2", "model.width=8"]))[
            "train_flops_fraction"
        ]
        assert plan(config)["timeline"] == [["dense", 6, 8]]
        assert plan(config)["train_flops_fraction"] == pytest.approx(whole + 0.25)

    def test_a_crash_in_between_changes_no_bit(
        self, parent: RunFolder, finetuned: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from acdc_cli.training import execute as execution

        config = compose_config(["finetune=dense", f"start_from={parent.path}", "tracker=none", f"runs_dir={tmp_path}"])
        real, calls = execution.run_epoch, []

        def once(*arguments: object) -> dict:
            if calls:
                raise KeyboardInterrupt
            calls.append(1)
            return real(*arguments)

        monkeypatch.setattr(execution, "run_epoch", once)
        with pytest.raises(Exception, match="interrupted"):
            execution.execute(config, lambda line: None)
        monkeypatch.setattr(execution, "run_epoch", real)
        again = execution.execute(config, lambda line: None)
        left, right = model_state(again, "dense"), model_state(finetuned, "dense")
        assert all(torch.equal(left[name], right[name]) for name in left)
        assert len(again.read_metrics()) == 2

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            (["finetune=dense"], "start_from=RUN"),
            (["finetune=dense", "start_from={parent}", "epochs=9"], "keeps the run's own epochs"),
            (["finetune=dense", "start_from={parent}", "optimizer.lr=1"], "keeps the run's own optimizer"),
            (["finetune=dense", "start_from={parent}", "sparsity=0.5"], "keeps the run's own sparsity"),
            (["finetune=dense", "start_from={finetuned}"], "no dense partner"),
            (["finetune=dense", "start_from=/nowhere"], "not a run folder"),
            (["finetune=dense", "start_from={parent}", "masks=from_weights"], "drop one"),
            (["finetune=sparse", "start_from={parent}"], "finetune=dense"),
            (["first_epoch=3"], "derived"),
        ],
    )
    def test_what_cannot_be(self, typed: list[str], said: str, parent: RunFolder, finetuned: RunFolder) -> None:
        with pytest.raises(BadInput, match=said):
            compose_config([word.format(parent=parent.path, finetuned=finetuned.path) for word in typed])


class TestMasksFromWeights:
    def test_the_zeros_stay_and_the_rest_trains(self, parent: RunFolder, tmp_path: Path, data_dir: Path) -> None:
        run = train(tmp_path, data_dir, "epochs=2", f"start_from={parent.path}", "masks=from_weights")
        before, after, result = model_state(parent), model_state(run), run.read_result()
        for name in prunable_weights(load_model(run.path)):
            assert torch.equal(before[name] == 0, after[name] == 0), name
        assert not torch.equal(before["fc.weight"], after["fc.weight"])
        assert (result["method"], result["sparsity"]) == ("static", parent.read_result()["sparsity"])
        assert result["train_flops_fraction"] == pytest.approx(result["sparse"]["inference_flops_fraction"], rel=1e-3)
        assert [row["phase"] for row in run.read_metrics()] == ["sparse", "sparse"]
        assert RunFolder(run.path).report.is_file()

    def test_a_dense_file_is_refused(self, parent: RunFolder, tmp_path: Path, data_dir: Path) -> None:
        file = parent.models / "dense.safetensors"
        state = load_file(file)
        dense = {name: torch.where(tensor == 0, 0.5, tensor).to(tensor.dtype) for name, tensor in state.items()}
        torch.save(dense, tmp_path / "dense.pt")
        with pytest.raises(BadInput, match="masks=from_weights: no prunable weight"):
            train(tmp_path, data_dir, "epochs=2", f"start_from={tmp_path / 'dense.pt'}", "masks=from_weights")
        assert [path.name for path in tmp_path.iterdir()] == ["dense.pt"]

    @pytest.mark.parametrize("typed", [["masks=from_weights"], ["method=static", "masks=from_weights"]], ids=str)
    def test_they_need_weights(self, typed: list[str]) -> None:
        with pytest.raises(BadInput, match="start_from="):
            compose_config(typed)


def test_a_run_starts_from_the_dense_model_of_another(parent: RunFolder, tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "epochs=2", f"start_from={parent.path}", "optimizer.lr=1e-9")
    started, partner = model_state(run, "dense"), model_state(parent, "dense")
    assert torch.allclose(started["fc.weight"], partner["fc.weight"], atol=1e-6)
    assert run.read_result()["started_from"] == str(parent.path)
    other = train(tmp_path, data_dir, "epochs=2", "optimizer.lr=1e-9")
    assert other.path != run.path


def test_recalibrated_statistics_are_means_over_the_training_set(tmp_path: Path, data_dir: Path) -> None:
    """The first batch norm, by hand: mean and variance of conv1's outputs, averaged over the epoch's batches."""
    options = ("epochs=2", "precision=fp32", "dataset.crop_padding=0", "batch_size=479")  # 3 equal batches, as they are
    plain = train(tmp_path, data_dir, *options)
    recalibrated = train(tmp_path, data_dir, *options, "bn_recalibration=true")
    state = model_state(recalibrated)
    assert recalibrated.path != plain.path
    for name, tensor in model_state(plain).items():
        same = torch.equal(tensor, state[name])
        assert same != any(word in name for word in ("running", "num_batches")), name
    config = from_yaml(recalibrated.config.read_text())
    run = build_run(config, open_dataset("digits", str(data_dir)))
    batches = run.feed.train_batches(1, run.epoch_batches(1))
    outputs = [F.conv2d(images, state["conv1.weight"], padding=1) for images, _, _ in batches]
    mean = torch.stack([output.mean(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    variance = torch.stack([output.var(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    torch.testing.assert_close(state["bn1.running_mean"], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["bn1.running_var"], variance, rtol=1e-4, atol=1e-5)


def test_rows_tell_the_dynamics(parent: RunFolder) -> None:
    rows = parent.read_metrics()
    assert rows[0]["starved_layers"] is None
    assert rows[0]["stayed_zero"] is None  # nothing was removed yet
    for before, row in itertools.pairwise(rows):
        if row["phase"] == "dense":
            assert 0 <= row["stayed_zero"] < 0.5
        elif before["phase"] == "dense":
            assert row["starved_layers"] is not None
    assert json.loads(json.dumps(rows)) == rows
