"""Families: what the config says is built, and a finished run's model comes back whatever its keys are called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from acdc_cli import load_model
from acdc_cli.config.compose import compose_config
from acdc_cli.config.text import to_yaml
from acdc_cli.errors import BadInput
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs


def built(*typed: str, channels: int = 3, classes: int = 1000) -> nn.Module:
    return build_model(compose_config(list(typed)).model, ImageInputs(channels, 32, 32, classes))


def test_resnet50_is_torchvisions() -> None:
    torch.manual_seed(3)
    model = built("model=resnet50")
    torch.manual_seed(3)
    theirs = torchvision.models.resnet50(weights=None)
    assert type(model) is type(theirs)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in theirs.state_dict().items())


def test_resnet50_of_other_images_differs_in_its_first_and_last_layer() -> None:
    ours, theirs = (
        built("model=resnet50", channels=1, classes=10).state_dict(),
        torchvision.models.resnet50().state_dict(),
    )
    assert list(ours) == list(theirs)
    different = {name for name in ours if ours[name].shape != theirs[name].shape}
    assert different == {"conv1.weight", "fc.weight", "fc.bias"}
    assert ours["conv1.weight"].shape == (64, 1, 7, 7)


@pytest.mark.parametrize(
    "typed", [["model=resnet8"], ["model=resnet20", "model.shortcut=conv"], ["model=mobilenet_v1"]]
)
@pytest.mark.parametrize(("dataset", "channels", "classes"), [("digits", 1, 10), ("cifar100", 3, 100)])
def test_a_runs_model_comes_back(typed: list[str], dataset: str, channels: int, classes: int, tmp_path: Path) -> None:
    config = compose_config([*typed, f"dataset={dataset}"])
    model = build_model(config.model, ImageInputs(channels, 32, 32, classes))
    (tmp_path / "models").mkdir()
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    (tmp_path / "status.json").write_text('{"state": "done", "epoch": 1, "error": null}')
    save_file(model.state_dict(), tmp_path / "models" / "sparse.safetensors")
    loaded = load_model(tmp_path)
    assert not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert loaded(torch.zeros(1, channels, 32, 32)).shape == (1, classes)


def test_batch_norm_eps_is_set_everywhere_or_refused() -> None:
    norms = [module for module in built("model.batch_norm_eps=0.01").modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 7 and {norm.eps for norm in norms} == {0.01}  # resnet8: one in the stem, two in each block
    assert {m.eps for m in built().modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}
    with pytest.raises(BadInput, match="no batch norm"):
        built("model=timm", "model.name=convnext_atto", "dataset=patches", "model.batch_norm_eps=0.01")
