"""Accuracy and agreement, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from acdc_cli.measure.accuracy import accuracy, agreement, predict


def logits_of(probabilities: list[list[float]]) -> Tensor:
    """Logits whose softmax is that, each row moved by a constant that softmax does not see."""
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    return (logits + torch.arange(len(probabilities))[:, None]).float()


def test_accuracy_by_hand() -> None:
    logits = logits_of([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6], [0.3, 0.6, 0.1]])
    measured = accuracy(logits, torch.tensor([0, 2, 0, 0]))
    assert measured["val_top1"] == 0.5
    expected = -(math.log(0.5) + math.log(0.7) + math.log(0.2) + math.log(0.3)) / 4
    assert measured["val_loss"] == pytest.approx(expected, abs=1e-6)


def test_top5_needs_five_classes() -> None:
    assert accuracy(torch.eye(4), torch.arange(4))["val_top5"] is None
    assert accuracy(torch.eye(5), torch.arange(5))["val_top5"] == 1.0


def test_top5_by_hand() -> None:
    """Seven classes ranked 6, 5, ..., 0: labels 2 to 6 are among the first five, 0 and 1 are not."""
    logits = torch.arange(7.0).repeat(7, 1)
    measured = accuracy(logits, torch.arange(7))
    assert measured["val_top5"] == pytest.approx(5 / 7)
    assert measured["val_top1"] == pytest.approx(1 / 7)


def test_agreement_by_hand() -> None:
    """-sum p_dense log p_sparse, not the other way round."""
    sparse = logits_of([[0.25, 0.75], [0.5, 0.5 - 1e-3]])
    dense = logits_of([[0.5 + 1e-3, 0.5 - 1e-3], [0.9, 0.1]])
    measured = agreement(sparse, dense)
    first = -(0.501 * math.log(0.25) + 0.499 * math.log(0.75))
    total = 0.5 + 0.499
    second = -(0.9 * math.log(0.5 / total) + 0.1 * math.log(0.499 / total))
    assert measured["top1"] == 0.5
    assert measured["cross_entropy"] == pytest.approx((first + second) / 2, abs=1e-6)


def test_a_model_agrees_with_itself_up_to_its_entropy() -> None:
    logits = logits_of([[0.5, 0.25, 0.25]])
    measured = agreement(logits, logits)
    assert measured["top1"] == 1.0
    assert measured["cross_entropy"] == pytest.approx(1.5 * math.log(2), abs=1e-6)


def test_predictions_keep_the_order_of_batches_of_any_size() -> None:
    images, labels = torch.arange(10.0)[:, None], torch.arange(10)
    batches = [(images[a:b], labels[a:b]) for a, b in ((0, 4), (4, 8), (8, 10))]
    weight = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    logits, seen = predict(lambda x: x.bfloat16() @ weight, batches)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert logits.tolist() == [[float(k)] * 2 for k in range(10)]
    assert seen.tolist() == list(range(10))


def test_labels_survive_a_loader_that_reuses_its_buffers() -> None:
    buffer = torch.zeros(2, dtype=torch.long)

    def batches():
        for k in range(3):
            yield torch.zeros(2, 1), buffer.fill_(k)

    assert predict(lambda x: x, batches())[1].tolist() == [0, 0, 1, 1, 2, 2]
