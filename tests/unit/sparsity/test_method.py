"""What all methods share: the model out of its wrappers, and what a step costs unless a method says otherwise."""

from __future__ import annotations

import pytest
import torch
from helpers.small_runs import METHODS, OPTIMIZERS, small_net
from helpers.toy_layers import rows
from torch import nn
from torch.optim.swa_utils import AveragedModel

from acdc_cli.sparsity import ACDC, Dense, Timeline, Work, model_state
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import plain_model


def test_a_model_comes_out_of_all_its_wrappers() -> None:
    """Nothing is compiled before the first pass."""
    model = rows((1.0, 2.0))
    assert plain_model(model) is model
    assert plain_model(torch.compile(model)) is model
    assert plain_model(nn.DataParallel(torch.compile(nn.DataParallel(model)))) is model
    average = AveragedModel(torch.compile(model))
    assert type(plain_model(average)) is nn.ModuleList and plain_model(average) is not model


def test_a_step_is_dense_and_done_once_unless_a_method_says_otherwise() -> None:
    assert Dense().work() == Work(
        forward_skips_zeros=False,
        error_skips_zeros=False,
        weight_gradient_skips_zeros=False,
        dense_gradient_share=0.0,
        weight_gradient_weights=None,
        forward_weights=None,
        passes=1,
    )


@pytest.mark.parametrize("enforced", [False, True])
def test_a_tied_weight_is_masked_under_each_of_its_names(enforced: bool) -> None:
    """A copy, masked as it is read while the masks are enforced; the model keeps what it has."""
    model = rows((1.0, 2.0), (3.0, 4.0), (5.0, 6.0))
    model[2].weight = model[0].weight
    masks = MaskSet({"0.weight": model[0].weight})
    masks.copy_({"0.weight": torch.tensor([[True, False]])})
    masks.enforced = enforced
    state = model_state(nn.DataParallel(model), masks)
    second = 0.0 if enforced else 2.0
    assert {name: value.tolist() for name, value in state.items()} == {
        "0.weight": [[1.0, second]],
        "1.weight": [[3.0, 4.0]],
        "2.weight": [[1.0, second]],
    }
    assert model[0].weight.tolist() == [[1.0, 2.0]]
    assert not any(value.requires_grad for value in state.values())


@pytest.mark.parametrize("name", [*METHODS, "acdc", "dense"])
def test_before_it_is_attached_it_prunes_nothing_and_before_an_epoch_no_mask_has_changed(name: str) -> None:
    others = {"acdc": lambda: ACDC(Timeline.acdc(4), 0.5), "dense": Dense}
    method = (METHODS | others)[name]()
    assert method.shares == []
    method.detach()
    model = small_net()
    method.attach(model, OPTIMIZERS["sgd"](model))
    assert method.mask_change is None
