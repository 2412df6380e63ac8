"""Everything that the contract promises of a finished run, read with other programs' eyes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.training import equal_bits, model_state, train
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy

import acdc_cli
from acdc_cli.models.resnet import ResNet
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.reevaluate import reevaluate

METRICS_KEYS = {
    "epoch", "phase", "train_loss", "train_top1", "val_loss", "val_top1", "val_top5", "lr", "resolution", "sparsity",
    "mask_change", "inference_flops", "train_flops", "train_flops_total", "samples_per_second", "seconds",
}  # fmt: skip
RESULT_KEYS = {
    "run_id", "method", "model", "dataset", "seed", "epochs", "sparsity_target", "sparsity",
    "sparsity_of_pruned_layers", "prunable_weights", "nonzero_weights", "sparse", "dense", "dense_inference_flops",
    "train_flops_total", "train_flops_fraction", "agreement", "seconds", "samples_per_second", "peak_memory_bytes",
    "versions", "git_commit", "device",
}  # fmt: skip
MODEL_KEYS = {
    "val_loss", "val_top1", "val_top5", "inference_flops", "inference_flops_fraction", "best_val_top1", "best_epoch",
    "attention_flops", "uncovered_flops",
}  # fmt: skip

# ResNet-8 of width 32 on 1 x 8 x 8 images, by hand: weights, output positions.
LAYERS = {
    "conv1.weight": (32 * 1 * 9, 64),
    "layer1.0.conv1.weight": (32 * 32 * 9, 64),
    "layer1.0.conv2.weight": (32 * 32 * 9, 64),
    "layer2.0.conv1.weight": (64 * 32 * 9, 16),
    "layer2.0.conv2.weight": (64 * 64 * 9, 16),
    "layer3.0.conv1.weight": (128 * 64 * 9, 4),
    "layer3.0.conv2.weight": (128 * 128 * 9, 4),
    "fc.weight": (128 * 10, 1),
}
WEIGHTS = sum(weights for weights, _ in LAYERS.values())
DENSE_FLOPS = sum(2 * weights * positions for weights, positions in LAYERS.values())
TRAIN_SAMPLES = 1437


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> RunFolder:
    return train(tmp_path_factory.mktemp("runs"), data_dir, "model.width=32")


def test_folder_holds_what_the_contract_lists(run: RunFolder) -> None:
    present = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert present == {
        "config.yaml", "status.json", "metrics.jsonl", "result.json", "report.html", "checksums.json",
        "checkpoints/last.pt", "checkpoints/previous.pt",
        "models/sparse.safetensors", "models/dense.safetensors", "models/masks.safetensors",
        "masks/epoch_001.safetensors", "masks/epoch_003.safetensors", "masks/epoch_005.safetensors",
    }  # fmt: skip
    assert run.path.parent.name == "default"
    assert run.path.name == f"resnet8-digits-acdc-0.9-seed0-{run.read_result()['run_id']}"


def test_status_is_done(run: RunFolder) -> None:
    status = json.loads(run.status.read_text())
    assert (status["state"], status["epoch"], status["error"]) == ("done", 6, None)
    assert {"pid", "host", "updated"} <= status.keys()


def test_every_metrics_row_has_every_key(run: RunFolder) -> None:
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(6))
    assert [row["phase"] for row in rows] == ["dense", "sparse"] * 3
    assert all(row.keys() >= METRICS_KEYS for row in rows)
    assert len({frozenset(row) for row in rows}) == 1


def test_result_has_every_key_and_the_exact_sparsity(run: RunFolder) -> None:
    result = json.loads(run.result.read_text())
    assert result.keys() >= RESULT_KEYS
    assert result["sparse"].keys() >= MODEL_KEYS and result["dense"].keys() >= MODEL_KEYS
    assert result["prunable_weights"] == WEIGHTS == 296_480
    assert result["nonzero_weights"] == WEIGHTS - round(0.9 * WEIGHTS)
    assert result["sparsity"] == result["sparsity_of_pruned_layers"] == round(0.9 * WEIGHTS) / WEIGHTS
    assert result["dense_inference_flops"] == DENSE_FLOPS


def test_flops_agree_with_a_count_by_hand(run: RunFolder) -> None:
    rows, state = run.read_metrics(), model_state(run)
    forward = sum(2 * int((state[name] != 0).sum()) * positions for name, (_, positions) in LAYERS.items())
    assert rows[-1]["inference_flops"] == forward
    assert rows[-1]["train_flops"] == 3 * forward  # a sparse phase: 3f
    assert rows[0]["train_flops"] == 3 * DENSE_FLOPS  # the warm-up: 2F + F
    charged = [
        3 * row["inference_flops"] if row["phase"] == "sparse" else 2 * row["inference_flops"] + DENSE_FLOPS
        for row in rows
    ]
    total = sum(charged) * TRAIN_SAMPLES
    assert rows[-1]["train_flops_total"] == total
    assert run.read_result()["train_flops_fraction"] == total / (3 * DENSE_FLOPS * TRAIN_SAMPLES * 6)


def test_layer_wise_sparsity_is_that_of_the_model(run: RunFolder) -> None:
    state = model_state(run)
    expected = {name: float((state[name] == 0).double().mean()) for name in LAYERS}
    assert run.read_metrics()[-1]["layer_sparsity"] == pytest.approx(expected)


def test_mask_change_is_counted_from_the_mask_files(run: RunFolder) -> None:
    packed = [load_numpy(run.masks / f"epoch_{epoch:03d}.safetensors") for epoch in (1, 3, 5)]
    masks = [
        np.concatenate([np.unpackbits(one[name], bitorder="little", count=LAYERS[name][0]) for name in LAYERS])
        for one in packed
    ]
    rows = run.read_metrics()
    assert [row["mask_change"] for row in rows[:3]] == [None, None, None]
    assert rows[3]["mask_change"] == (masks[0] != masks[1]).sum() / WEIGHTS
    assert rows[4]["mask_change"] is None
    assert rows[5]["mask_change"] == (masks[1] != masks[2]).sum() / WEIGHTS


def test_masks_name_the_non_zero_weights(run: RunFolder) -> None:
    state = model_state(run)
    with safe_open(run.models / "masks.safetensors", framework="numpy") as file:
        metadata = file.metadata()
        for name in LAYERS:
            packed = file.get_tensor(name)
            shape = json.loads(metadata[name])
            assert packed.dtype == np.uint8 and packed.ndim == 1 and shape == list(state[name].shape)
            mask = np.unpackbits(packed, bitorder="little", count=int(np.prod(shape))).reshape(shape)
            assert not state[name].numpy()[mask == 0].any()


def test_plain_torch_loads_both_models(run: RunFolder) -> None:
    for kind in ("sparse", "dense"):
        model = ResNet(depth=8, width=32, in_channels=1, classes=10)
        model.load_state_dict(model_state(run, kind))
        assert equal_bits(model.state_dict(), dict(acdc_cli.load_model(run.path, kind).state_dict()))


def test_dense_model_has_no_pruned_weight(run: RunFolder) -> None:
    assert all(bool((model_state(run, "dense")[name] != 0).all()) for name in LAYERS)


def test_checkpoint_loads_with_weights_only(run: RunFolder) -> None:
    assert torch.load(run.checkpoint, weights_only=True)["run_id"] == run.read_result()["run_id"]


def test_config_is_the_whole_resolved_config(run: RunFolder) -> None:
    config = yaml.safe_load(run.config.read_text())
    assert (config["epochs"], config["device"], config["loader"], config["threads"]) == (6, "cpu", "device", 1)
    assert config["schedule"]["final_sparse_epochs"] == 1


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_evaluation_of_the_files_gives_the_recorded_numbers(run: RunFolder, kind: str) -> None:
    measured, recorded = reevaluate(run.path, kind, None, None), run.read_result()[kind]
    for key in ("val_loss", "val_top1", "val_top5", "inference_flops", "inference_flops_fraction"):
        assert measured[key] == recorded[key]


def test_agreement_matches_numpy(run: RunFolder) -> None:
    """Against logits computed here, in fp32 and without autocast: the numbers are near, not the same."""
    from acdc_cli.data.dataset import read_dataset

    dataset = read_dataset(Path(yaml.safe_load(run.config.read_text())["data_dir"]) / "digits")
    images = dataset.read_source()["val"].images.astype(np.float64).transpose(0, 3, 1, 2) / 255
    inputs = torch.tensor((images - dataset.info["mean"][0]) / dataset.info["std"][0], dtype=torch.float32)
    probability = {}
    for kind in ("sparse", "dense"):
        with torch.no_grad():
            logits = acdc_cli.load_model(run.path, kind)(inputs).double().numpy()
        probability[kind] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    same = (probability["sparse"].argmax(1) == probability["dense"].argmax(1)).mean()
    cross_entropy = -(probability["dense"] * np.log(probability["sparse"])).sum(axis=1).mean()
    recorded = run.read_result()["agreement"]
    assert recorded["top1"] == pytest.approx(same, abs=0.01)
    assert recorded["cross_entropy"] == pytest.approx(cross_entropy, rel=0.05)


def test_report_is_one_self_contained_page(run: RunFolder) -> None:
    page = run.report.read_text()
    assert page.startswith("<!doctype html>") and page.count("<svg") == 8
    for reference in ("src=", "<link", "<script", "@import", "url(http"):
        assert reference not in page


def test_uniform_sparsity_costs_the_closed_form(tmp_path: Path, data_dir: Path) -> None:
    """Every layer at the target: f is known beforehand, and with it the fraction of the whole run."""
    result = train(tmp_path, data_dir, "sparsity=uniform", "sparsity.target=0.5").read_result()
    left = {name: weights - round(0.5 * weights) for name, (weights, _) in LAYERS.items()}
    fraction = sum(2 * left[name] * positions for name, (_, positions) in LAYERS.items()) / DENSE_FLOPS
    assert result["sparse"]["inference_flops_fraction"] == pytest.approx(fraction, abs=1e-12)
    assert result["train_flops_fraction"] == pytest.approx((3 + 3 * fraction) / 6, abs=1e-3)  # 3 of 6 epochs


def test_dense_method_costs_one_and_has_one_model(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "method=dense")
    result = run.read_result()
    assert result["train_flops_fraction"] == 1.0
    assert result["sparse"] is None and result["agreement"] is None and result["sparsity_target"] is None
    assert not (run.models / "sparse.safetensors").exists() and not (run.models / "masks.safetensors").exists()
    assert train(tmp_path, data_dir, "method=dense", "sparsity=0.5").path == run.path


def test_two_of_four_leaves_the_first_layer_dense(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, "sparsity=2:4", "model.width=32")
    result, state = run.read_result(), model_state(run)
    pruned = WEIGHTS - LAYERS["conv1.weight"][0]
    assert result["sparsity_target"] == "2:4"
    assert result["sparsity_of_pruned_layers"] == 0.5
    assert result["sparsity"] == pytest.approx(0.5 * pruned / WEIGHTS, abs=1e-12)
    groups = state["layer2.0.conv1.weight"].permute(0, 2, 3, 1).reshape(-1, 4)
    assert int((groups != 0).sum(dim=1).max()) <= 2
    assert bool((state["conv1.weight"] != 0).all())
