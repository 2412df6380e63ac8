"""Every product that a network of torchvision or timm executes is somewhere: PyTorch's own counter has the same sum."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acdc_cli.measure.flops import forward_flops, inference_flops
from acdc_cli.sparsity.coverage import uncovered_weights

TORCHVISION = torchvision.models.list_models(module=torchvision.models)
TIMM = {family: timm.list_models(module=family)[0] for family in timm.list_modules()}
# Networks whose weights functions use, or that hand parameters to their modules; the smallest there are.
OF_EACH_FAULTY_KIND = {
    "swin_t": "torchvision", "vit_b_16": "torchvision", "beit_base_patch16_224": "timm",
    "eva02_tiny_patch14_224": "timm", "cait_xxs24_224": "timm", "pit_ti_224": "timm",
    "naflexvit_base_patch16_map": "timm", "resnetv2_50": "timm", "halonet26t": "timm",
}  # fmt: skip


def network(library: str, name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network on the meta device and the shape of its images."""
    with torch.device("meta"):
        if library == "timm":
            model = timm.create_model(name)
            return model, model.default_cfg["input_size"]
        pixels = 299 if name == "inception_v3" else 224
        try:
            return torchvision.models.get_model(name), (3, pixels, pixels)
        except NotImplementedError:  # RegNets compute with values as they are built
            pass
    return torchvision.models.get_model(name).to("meta"), (3, pixels, pixels)


def pytorch_total(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """FlopCounterMode's. It fails if a parameter that needs a gradient is an argument of a module under no_grad."""
    model.eval().requires_grad_(False)
    torch.backends.mha.set_fastpath_enabled(False)  # whose fused operation it does not know
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, *shape, device="meta"))
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops()


def check(library: str, name: str) -> None:
    model, shape = network(library, name)
    counted = forward_flops(model, shape)
    weights, uncovered = inference_flops(counted.sizes), sum(counted.uncovered.values())
    assert weights + counted.attention + uncovered == pytorch_total(model, shape) > 0
    vectors = {name for name, each in model.named_parameters() if each.dim() < 2}
    assert counted.uncovered.keys() <= uncovered_weights(model).keys() | vectors


@pytest.mark.parametrize("name", OF_EACH_FAULTY_KIND)
def test_one_of_each_faulty_kind(name: str) -> None:
    check(OF_EACH_FAULTY_KIND[name], name)


def test_the_weights_that_were_missed() -> None:
    """Measured with FlopCounterMode and by hand in the report of the fault: 24 of 53 layers counted as 0, 12 of 38."""
    model, shape = network("torchvision", "swin_t")
    counted = forward_flops(model, shape)
    assert all(size.output_positions > 0 for size in counted.sizes.values())
    assert inference_flops(counted.sizes) == pytest.approx(8.7e9, rel=0.001)
    assert counted.attention == pytest.approx(0.28e9, rel=0.01)


def test_a_vision_transformer_by_hand() -> None:
    """ViT-B/16: 196 patches and a class token of width 768, 12 blocks, 1000 classes."""
    model, shape = network("torchvision", "vit_b_16")
    counted = forward_flops(model, shape)
    block = 768 * 3 * 768 + 768 * 768 + 2 * 768 * 3072
    assert inference_flops(counted.sizes) == 2 * (196 * 768 * 3 * 16 * 16 + 12 * 197 * block + 768 * 1000)
    assert counted.attention == 12 * 2 * (2 * 197 * 197 * 768)
    assert counted.uncovered == {}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_classifier_of_torchvision(name: str) -> None:
    check("torchvision", name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TIMM.values())
def test_one_of_each_family_of_timm(name: str) -> None:
    check("timm", name)
