"""Erdős–Rényi-Kernel densities: by hand, against RigL's description written out again, and its published FLOPs."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet50

from acdc_cli.measure.flops import inference_flops, layer_sizes
from acdc_cli.sparsity import Allocation, AllocationError, Layer, magnitude_masks, prunable_layers
from acdc_cli.sparsity.allocate import closed_form_nonzeros, erk_removed

THREE_LAYERS = {"kernel": torch.Size([4, 2, 3, 3]), "hidden": torch.Size([10, 20]), "out": torch.Size([4, 10])}


@pytest.fixture(scope="module")
def real_models() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {"resnet50": resnet50(), "mobilenet_v2": mobilenet_v2()}


def rigl_densities(shapes: list[tuple[int, ...]], sparsity: float) -> np.ndarray:
    """Section 3 of arXiv 1911.11134 in NumPy.

    1 - s of a layer scales with (n_in + n_out + width + height) / (n_in * n_out * width * height), which is
    sum(dims) / prod(dims); the scale is the one that gives the wished total, and whoever would be above 1 is dense and
    leaves the others to share the rest.
    """
    parameters = np.array([prod(shape) for shape in shapes], float)
    raw = np.array([sum(shape) for shape in shapes]) / parameters
    dense = np.zeros(len(shapes), bool)
    while True:
        wished = (1 - sparsity) * parameters.sum() - parameters[dense].sum()
        epsilon = wished / (raw * parameters)[~dense].sum()
        over = ~dense & (raw * epsilon > 1)
        if not over.any():
            return np.where(dense, 1.0, raw * epsilon)
        dense[np.argmax(np.where(dense, 0, raw))] = True


def test_densities_by_hand() -> None:
    """312 weights, 156 stay. Sums of dimensions: 12, 30, 14, scale 156 / 56.

    out would keep 39 of 40, kernel 33.43 of 72, hidden 83.57 of 200: nobody is over. 1, 38.57 and 116.43 go, whole
    weights of which are 155, and the larger remainder gives the last one.
    """
    assert erk_removed(THREE_LAYERS, 0.5) == {"kernel": 39, "hidden": 116, "out": 1}


def test_a_layer_that_saturates_stays_dense_and_the_others_share_the_rest() -> None:
    """At 0.4, 125 of 312 go and 187 stay: out would keep 14 * 187 / 56 = 46.75 of 40, so it is dense.

    The other two share 187 - 40 = 147 over 12 + 30: scale 3.5, kernel keeps 42 of 72 and hidden 105 of 200.
    """
    assert erk_removed(THREE_LAYERS, 0.4) == {"kernel": 30, "hidden": 95, "out": 0}


def test_layers_saturate_one_after_the_other() -> None:
    """At 0.1, 31 go and 281 stay: out is dense, then kernel (12 * 241 / 42 = 68.9 of 72) is not; hidden has 172.1.

    At 0.05, 16 go and 296 stay: out, then kernel (12 * 256 / 42 = 73.1 of 72); hidden alone loses 16.
    """
    assert erk_removed(THREE_LAYERS, 0.1) == {"kernel": 3, "hidden": 28, "out": 0}
    assert erk_removed(THREE_LAYERS, 0.05) == {"kernel": 0, "hidden": 16, "out": 0}


def test_equal_layers_share_what_does_not_divide_in_model_order() -> None:
    """3 x 10 weights, 10 of 30 go: 3.33 each, the odd one from the first."""
    shapes = {name: torch.Size([2, 5]) for name in "abc"}
    assert erk_removed(shapes, 1 / 3) == {"a": 4, "b": 3, "c": 3}


@pytest.mark.parametrize("model", ["resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.98])
def test_agrees_with_rigls_description_on_real_shapes(
    model: str, target: float, real_models: dict[str, nn.Module]
) -> None:
    shapes = {name: layer.shape for name, layer in prunable_layers(real_models[model]).items()}
    removed = erk_removed(shapes, target)
    densities = rigl_densities([tuple(shape) for shape in shapes.values()], target)
    assert list(removed) == list(shapes)
    for (name, shape), density in zip(shapes.items(), densities, strict=True):
        assert abs(removed[name] - (1 - density) * prod(shape)) < 1, name
        assert (removed[name] == 0) == (density == 1), name
    assert (densities == 1).any() == (target <= 0.9)


TARGETS = [0, 1e-9, 1e-7, 1e-4, 0.01, 0.1, 1 / 3, 0.5, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.99999, 1 - 1e-9]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", ["resnet50", "mobilenet_v2"])
def test_the_total_is_exact(model: str, target: float, real_models: dict[str, nn.Module]) -> None:
    shapes = {name: layer.shape for name, layer in prunable_layers(real_models[model]).items()}
    removed = erk_removed(shapes, target)
    assert sum(removed.values()) == round(target * sum(map(prod, shapes.values())))
    assert all(0 <= removed[name] <= prod(shape) for name, shape in shapes.items())


@pytest.mark.parametrize("seed", range(20))
def test_the_total_is_exact_for_any_shapes(seed: int) -> None:
    random = np.random.default_rng(seed)
    shapes = {
        f"layer{index}": torch.Size(random.integers(1, 9, size=random.choice([2, 3, 4])).tolist())
        for index in range(random.integers(1, 12))
    }
    total = sum(map(prod, shapes.values()))
    for count in {0, 1, total // 3, total // 2, total - 1, total}:
        target = min(count / total, 1 - 1e-12)
        removed = erk_removed(shapes, target)
        assert sum(removed.values()) == round(target * total)
        assert all(0 <= removed[name] <= prod(shape) for name, shape in shapes.items())


@pytest.mark.parametrize(("target", "published", "fraction"), [(0.8, 0.42, 0.414), (0.9, 0.24, 0.242)])
def test_published_flops_of_resnet50(
    target: float, published: float, fraction: float, real_models: dict[str, nn.Module]
) -> None:
    """RigL, table 2 (ERK rows): inference FLOPs 0.42x and 0.24x of the dense network's, all layers pruned."""
    model = real_models["resnet50"]
    sizes = layer_sizes(model, (3, 224, 224))
    left = closed_form_nonzeros(prunable_layers(model), Allocation(target, "erk"))
    measured = inference_flops(sizes, left) / inference_flops(sizes)
    assert measured == pytest.approx(fraction, abs=0.002)
    assert measured == pytest.approx(published, abs=0.01)


def test_each_layer_is_ranked_alone() -> None:
    """kernel keeps 42, hidden 105, out 40 (above), however large the weights of one layer are."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in THREE_LAYERS.items()}
    weights["hidden"] *= 1000
    masks = magnitude_masks(weights, Allocation(0.4, "erk"))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"kernel": 42, "hidden": 105, "out": 40}
    for name, mask in masks.items():
        dropped, kept = weights[name][~mask].abs(), weights[name][mask].abs()
        assert dropped.numel() == 0 or dropped.max() <= kept.min()


def test_excluded_layers_count_neither_in_the_total_nor_in_the_scale() -> None:
    """Without out: 136 of 272 stay over 12 + 30, so kernel keeps 38.86 and hidden 97.14; 33 and 103 of them go."""
    layers = {name: Layer(shape) for name, shape in THREE_LAYERS.items()}
    left = closed_form_nonzeros(layers, Allocation(0.5, "erk", rules={"out": 0}))
    assert left == {"kernel": 39, "hidden": 97, "out": 40}


def test_each_share_has_a_scale_of_its_own() -> None:
    """Hidden and out at 0.75: 60 of 240 stay over 30 + 14, hidden 40.9 and out 19.1; kernel at 0.5 alone keeps 36."""
    layers = {name: Layer(shape) for name, shape in THREE_LAYERS.items()}
    left = closed_form_nonzeros(layers, Allocation(0.75, "erk", rules={"kernel": 0.5}))
    assert left == {"kernel": 36, "hidden": 41, "out": 19}


def test_a_floor_that_erk_would_break_is_refused() -> None:
    """At 0.9, 31 stay: kernel 6.64 of 72, hidden 16.6 of 200 (0.083), out 7.75 of 40; 16 + 7 + 8 in whole weights."""
    layers = {name: Layer(shape) for name, shape in THREE_LAYERS.items()}
    assert closed_form_nonzeros(layers, Allocation(0.9, "erk", 0.08))["hidden"] == 16
    with pytest.raises(AllocationError, match=r"min_layer_density 0\.09 keeps 18 weights of hidden"):
        closed_form_nonzeros(layers, Allocation(0.9, "erk", 0.09))
