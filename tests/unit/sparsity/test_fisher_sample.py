"""The gradients that a Fisher matrix is made of, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers.toy_layers import backward, rows
from torch import nn

from acdc_cli.sparsity.fisher_sample import sample_gradients, working_dtype


def first_alone(model: nn.ModuleList) -> Iterator[None]:
    """Gradients (1, 2) and (3, 4) of the first row; the second is not used."""
    for gradient in ((1.0, 2.0), (3.0, 4.0)):
        model[0](torch.tensor([gradient], dtype=model[0].weight.dtype)).sum().backward()
        yield


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_gradients_in_turn_and_zeros_for_a_weight_without_one(dtype: torch.dtype, kept: torch.dtype) -> None:
    model = rows((1.0, 1.0), (1.0, 1.0)).to(dtype)
    assert working_dtype(model[0].weight) == kept
    found = list(sample_gradients(model, dict(model.named_parameters()), first_alone, 2))
    assert [[gradient[0].tolist() for gradient in each.values()] for each in found] == [
        [[1.0, 2.0], [0.0, 0.0]],
        [[3.0, 4.0], [0.0, 0.0]],
    ]
    for gradient in (gradient for each in found for gradient in each.values()):
        assert gradient.dtype == kept and not gradient.requires_grad


def test_a_sparse_gradient_is_made_dense() -> None:
    table = nn.Embedding(3, 2, sparse=True)

    def passes(model: nn.Module) -> Iterator[None]:
        model(torch.tensor([2, 2])).sum().backward()
        yield

    (found,) = sample_gradients(table, {"weight": table.weight}, passes, 1)
    assert found["weight"].tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]


def test_a_loop_that_stops_early_finds_the_model_as_it_was() -> None:
    """Its gradients too, which may be those of an accumulation that is under way."""
    model = rows((1.0, 1.0), (1.0, 1.0))
    backward(model[1], 5.0, 6.0)
    before = model[1].weight.grad
    model[0].eval()
    gradients = sample_gradients(model, dict(model.named_parameters()), first_alone, 2)
    next(gradients)
    assert not model.training and not model[1].training
    gradients.close()
    assert model[1].weight.grad is before and before is not None and before.tolist() == [[5.0, 6.0]]
    assert model[0].weight.grad is None
    assert model.training and model[1].training and not model[0].training
