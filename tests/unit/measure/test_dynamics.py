"""What starves, dies and does not come back, on toy tensors."""

from __future__ import annotations

import torch

from acdc_cli.measure.dynamics import dead_channels, revived_share, starved_layers, stayed_zero
from acdc_cli.sparsity import MaskSet


def masks_of(**rows: list) -> MaskSet:
    masks = {name: torch.tensor(row, dtype=torch.bool) for name, row in rows.items()}
    made = MaskSet({name: mask.float() for name, mask in masks.items()})
    made.copy_(masks)
    return made


def test_starved_layers_have_fewer_weights_than_asked() -> None:
    masks = masks_of(a=[[1, 1, 1]], b=[[0, 1, 0]], c=[[0, 0, 0]])
    assert starved_layers(masks, 1) == {"c": 0}
    assert starved_layers(masks, 2) == {"b": 1, "c": 0}
    assert starved_layers(masks, 0) == {}


def test_dead_channels_are_rows_of_zeros() -> None:
    convolution = torch.zeros(3, 2, 1, 2)
    convolution[1, 0, 0, 1] = -0.5
    assert dead_channels({"conv": convolution, "linear": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])}) == {
        "conv": 2,
        "linear": 1,
    }


def test_a_weight_of_not_a_number_is_not_dead() -> None:
    assert dead_channels({"linear": torch.tensor([[float("nan")], [0.0]])}) == {"linear": 1}


def test_stayed_zero_looks_at_what_was_removed_alone() -> None:
    masks = masks_of(a=[[1, 0, 0, 0]], b=[[0, 1]])  # 4 removed; of those 0.3 and -1 came back
    weights = {"a": torch.tensor([[0.0, 0.3, 0.0, 0.0]]), "b": torch.tensor([[-1.0, 0.0]])}
    assert stayed_zero(weights, masks) == 0.5


def test_nothing_removed_nothing_stays() -> None:
    assert stayed_zero({"a": torch.zeros(1, 2)}, masks_of(a=[[1, 1]])) == 0.0


def test_revived_share_is_of_the_weights_kept_now() -> None:
    before = {"layer": torch.tensor([[1, 0], [0, 0], [0, 0], [0, 1]]).bool()}
    now = {"layer": torch.tensor([[1, 0], [1, 1], [0, 0], [0, 0]]).bool()}
    assert revived_share(before, now) == {"layer": 2 / 3}  # row 1 was empty and has two of three; row 2 still is
    assert revived_share(now, now) == {"layer": 0}
    assert revived_share(before, {"layer": torch.zeros(4, 2).bool()}) == {"layer": 0}
