"""MaskSet: masks beside the weights, in place, and packed as NumPy packs them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import Tensor

from acdc_cli.sparsity import MaskSet
from acdc_cli.sparsity.masks import pack, unpack


def two_weights() -> dict[str, Tensor]:
    return {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0, 6.0, 7.0, 8.0, 9.0, 10.0])}


def two_masks() -> dict[str, Tensor]:
    return {"a": torch.tensor([[1, 0], [0, 1]]).bool(), "b": torch.tensor([0, 0, 1, 0, 1, 0]).bool()}


def filled() -> MaskSet:
    masks = MaskSet(two_weights())
    masks.copy_(two_masks())
    return masks


def random_mask(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3


def test_all_weights_exist_at_first() -> None:
    masks = MaskSet(two_weights())
    assert masks.density() == 1.0
    assert masks.numel == 10
    assert list(masks) == ["a", "b"]


def test_masks_have_the_memory_format_of_their_weights() -> None:
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    assert MaskSet({"w": weight})["w"].stride() == weight.stride()


def test_apply_zeroes_what_is_outside_in_place() -> None:
    weights = two_weights()
    before = {name: weight.data_ptr() for name, weight in weights.items()}
    filled().apply_(weights)
    assert weights["a"].tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert weights["b"].tolist() == [0.0, 0.0, 7.0, 0.0, 9.0, 0.0]
    assert {name: weight.data_ptr() for name, weight in weights.items()} == before


def test_apply_zeroes_even_nan_and_infinity() -> None:
    weights = two_weights()
    weights["a"][0, 1], weights["a"][1, 0] = float("nan"), -float("inf")
    filled().apply_(weights)
    assert weights["a"].tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_apply_takes_parameters() -> None:
    weights = {name: torch.nn.Parameter(weight) for name, weight in two_weights().items()}
    filled().apply_(weights)
    assert weights["a"].tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert weights["a"].requires_grad
    assert weights["a"].is_leaf


def test_density_is_over_all_weights() -> None:
    assert filled().density() == 4 / 10


def test_change_is_over_all_weights() -> None:
    other = {"a": torch.tensor([[0, 1], [0, 1]]).bool(), "b": torch.tensor([0, 0, 1, 0, 0, 0]).bool()}
    assert filled().change_from(other) == 3 / 10
    assert filled().change_from(two_masks()) == 0.0
    assert filled().change_from({name: ~mask for name, mask in two_masks().items()}) == 1.0


def test_a_snapshot_stays_behind() -> None:
    masks = filled()
    snapshot = masks.snapshot()
    masks.copy_({name: ~mask for name, mask in two_masks().items()})
    assert masks.change_from(snapshot) == 1.0
    assert snapshot["b"].int().tolist() == [0, 0, 1, 0, 1, 0]


def test_masks_change_in_place() -> None:
    masks = MaskSet(two_weights())
    held = {name: masks[name] for name in masks}
    masks.copy_(two_masks())
    assert all(masks[name] is held[name] for name in masks)
    assert held["a"].int().tolist() == [[1, 0], [0, 1]]
    masks.load_state_dict(MaskSet(two_weights()).state_dict())
    assert all(masks[name] is held[name] for name in masks)
    assert held["a"].int().tolist() == [[1, 1], [1, 1]]


def test_a_missing_mask_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled().copy_({"a": two_masks()["a"]})


def test_digests_are_equal_exactly_if_the_masks_are() -> None:
    assert filled().digest() == filled().digest()
    flipped = filled()
    flipped["b"][5] = True
    renamed = MaskSet({"a": two_weights()["a"], "c": two_weights()["b"]})
    renamed.copy_({"a": two_masks()["a"], "c": two_masks()["b"]})
    reshaped = MaskSet({"a": two_weights()["a"], "b": two_weights()["b"].view(2, 3)})
    reshaped.copy_({"a": two_masks()["a"], "b": two_masks()["b"].view(2, 3)})
    assert len({masks.digest() for masks in (filled(), flipped, renamed, reshaped)}) == 4


def test_the_digest_ignores_the_memory_format() -> None:
    mask = random_mask(4, 3, 5, 5)
    plain, channels_last = (
        MaskSet({"w": torch.zeros(4, 3, 5, 5).to(memory_format=memory_format)})
        for memory_format in (torch.contiguous_format, torch.channels_last)
    )
    plain.copy_({"w": mask})
    channels_last.copy_({"w": mask})
    assert plain.digest() == channels_last.digest()


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (4, 3, 3, 3), (16, 8)])
def test_packed_bits_are_numpys(shape: tuple[int, ...]) -> None:
    mask = random_mask(*shape)
    expected = np.packbits(mask.numpy().ravel(), bitorder="little")
    assert pack(mask).dtype == torch.uint8
    assert pack(mask).tolist() == expected.tolist()
    assert torch.equal(unpack(torch.from_numpy(expected), mask.shape), mask)


def test_packing_by_hand() -> None:
    assert pack(torch.tensor([1, 0, 1, 0, 0, 0, 0, 1, 1, 1]).bool()).tolist() == [1 + 4 + 128, 1 + 2]


def test_packed_order_is_row_major_for_channels_last_too() -> None:
    mask = random_mask(4, 3, 5, 5).to(memory_format=torch.channels_last)
    assert pack(mask).tolist() == np.packbits(mask.numpy().ravel(order="C"), bitorder="little").tolist()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_state_survives_a_file(memory_format: torch.memory_format) -> None:
    weights = {"conv": torch.zeros(5, 3, 3, 3).to(memory_format=memory_format), "fc": torch.zeros(3, 7)}
    original = MaskSet(weights)
    original.copy_({"conv": random_mask(5, 3, 3, 3), "fc": random_mask(3, 7, seed=1)})
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    restored = MaskSet(weights)
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(restored["conv"], random_mask(5, 3, 3, 3))
    assert torch.equal(restored["fc"], random_mask(3, 7, seed=1))
    assert restored.digest() == original.digest()
