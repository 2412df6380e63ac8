"""What only a GPU shows: fp16 with the scaler, compilation, prefetch. Collected everywhere, skipped without CUDA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_cli.config.compose import compose_config
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.loaders import to_device
from acdc_cli.data.loading.torch_loader import TorchLoader
from acdc_cli.data.source import source_of
from acdc_cli.models.wide_resnet import WideResNet
from acdc_cli.sparsity import ACDC, Timeline
from acdc_cli.training.execute import execute
from acdc_cli.training.machine import seed_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


def train(tmp_path: Path, data_dir: Path, *overrides: str) -> dict:
    base = ["device=cuda", "tracker=none", f"data_dir={data_dir}", f"runs_dir={tmp_path}", "loader=device"]
    base += ["precision.compile=false"]  # it takes longer than the digits do
    return execute(compose_config([*base, *overrides]), print).read_result()


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_digits_train_in_every_precision(precision: str, tmp_path: Path, data_dir: Path) -> None:
    result = train(tmp_path, data_dir, f"precision={precision}")
    assert result["sparsity"] == round(0.9 * result["prunable_weights"]) / result["prunable_weights"]
    assert result["sparse"]["val_top1"] >= 0.98 and result["dense"]["val_top1"] >= 0.98
    assert result["peak_memory_bytes"] > 0 and result["device"] != "cpu"


@pytest.mark.parametrize("loader", ["torch", "ffcv"])
def test_host_loaders_feed_the_gpu(loader: str, tmp_path: Path, data_dir: Path, request: pytest.FixtureRequest) -> None:
    if loader == "ffcv":
        request.getfixturevalue("needs_ffcv")
    assert train(tmp_path, data_dir, f"loader={loader}", "epochs=10")["sparse"]["val_top1"] >= 0.95


def test_prefetched_batches_are_the_loaders_own(data_dir: Path) -> None:
    samples = source_of("digits").data.read(None)["train"]
    order = np.random.default_rng(0).permutation(len(samples.labels))
    device = torch.device("cuda")
    batches = to_device(TorchLoader(samples, workers=0).batches(in_batches(order, 64)), device)
    images, labels, indices = zip(*((x.clone(), y.clone(), index) for x, y, index in batches), strict=True)
    assert np.array_equal(np.concatenate(indices), order)
    assert np.array_equal(torch.cat(images).cpu().numpy(), samples.images[order])
    assert np.array_equal(torch.cat(labels).cpu().numpy(), samples.labels[order])


def test_compiled_model_trains_and_masks_change_without_recompiling(tmp_path: Path, data_dir: Path) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    result = train(tmp_path, data_dir, "precision.compile=null", "epochs=8", "batch_size=479")  # 3 equal batches
    assert result["sparse"]["val_top1"] > 0.5
    assert counters["stats"]["unique_graphs"] <= 2  # one for training, one for evaluation


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam", "lamb"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_optimizer_trains_on_the_gpu(name: str, precision: str, tmp_path: Path, data_dir: Path) -> None:
    result = train(tmp_path, data_dir, f"optimizer={name}", f"precision={precision}", "epochs=10")
    assert result["sparsity"] == round(0.9 * result["prunable_weights"]) / result["prunable_weights"]
    assert result["dense"]["val_top1"] > 0.5


def test_dropout_on_the_gpu_is_a_function_of_the_step() -> None:
    device = torch.device("cuda")
    model = WideResNet(10, 1, 0.3, 1, 10).to(device)
    images = torch.randn(16, 1, 8, 8, device=device)
    seed_step(0, 3, 5, 0)
    first, second = model(images), model(images)
    seed_step(0, 3, 5, 0)
    assert not torch.equal(first, second)
    torch.testing.assert_close(model(images), first)


def test_weights_stay_zero_when_the_scaler_skips_a_step() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64, device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**15)
    method = ACDC(Timeline.acdc(epochs=2), sparsity=0.9).attach(model, optimizer)
    skipped = 0
    for epoch in range(2):
        method.begin_epoch(epoch)
        for step in range(6):
            inputs = torch.randn(32, 64, device="cuda") * (1e6 if step == 2 else 1)  # overflows in fp16
            with torch.autocast("cuda", torch.float16):
                loss = model(inputs).float().pow(2).mean()
            scaler.scale(loss).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            skipped += scaler.get_scale() < before
            if epoch == 1:
                assert bool((model.weight[~method.masks["weight"]] == 0).all())
    assert skipped
