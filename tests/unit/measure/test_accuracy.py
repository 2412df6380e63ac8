"""Accuracy and agreement, by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acdc_cli.measure.accuracy import CHUNK, accuracy, agreement, measure


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


def test_logits_of_other_samples_are_refused() -> None:
    """One model has a chunk more than the other."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        agreement(torch.ones(CHUNK + 1, 2), torch.ones(CHUNK, 2))


def test_a_model_agrees_with_itself_up_to_its_entropy() -> None:
    logits = logits_of([[0.5, 0.25, 0.25]])
    measured = agreement(logits, logits)
    assert measured["top1"] == 1.0
    assert measured["cross_entropy"] == pytest.approx(1.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize("classes", [3, 7])
def test_batches_of_any_size_add_up_to_the_whole(classes: int) -> None:
    """To the last bit, the loss included: cross_entropy of all logits at once."""
    logits = torch.randn(10, classes, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(10) % classes
    batches = [(logits[a:b], labels[a:b]) for a, b in ((0, 4), (4, 8), (8, 10))]
    measured, kept = measure(lambda x: x, batches, keep_logits=True)
    assert measured == accuracy(logits, labels)
    assert measured["val_loss"] == F.cross_entropy(logits.double(), labels).item()
    assert kept is not None and kept.equal(logits)
    assert measure(lambda x: x, batches, keep_logits=False) == (measured, None)


def test_logits_are_kept_in_the_order_and_precision_that_they_come_in() -> None:
    images, labels = torch.arange(10.0)[:, None], torch.zeros(10, dtype=torch.long)
    weight = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    _, logits = measure(lambda x: x.bfloat16() @ weight, [(images[:6], labels[:6]), (images[6:], labels[6:])], True)
    assert logits is not None and logits.dtype == torch.bfloat16 and not logits.requires_grad
    assert logits.tolist() == [[float(k)] * 2 for k in range(10)]


def test_scores_survive_a_loader_that_reuses_its_buffers() -> None:
    """Labels 0, 1, 2 for the same image, which is a 0: one of three is right."""
    buffer = torch.zeros(2, dtype=torch.long)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for k in range(3):
            yield torch.tensor([[1.0, 0.0, 0.0]] * 2), buffer.fill_(k)

    measured, _ = measure(lambda x: x, batches(), keep_logits=False)
    assert measured["val_top1"] == pytest.approx(1 / 3)


def test_agreement_over_several_chunks() -> None:
    """More samples than are worked on at a time: every second one agrees."""
    dense = torch.eye(2).repeat(CHUNK, 1)
    sparse = torch.tensor([1.0, 0.0]).repeat(2 * CHUNK, 1)
    assert agreement(sparse, dense)["top1"] == 0.5
    p, q = math.e / (math.e + 1), 1 / (math.e + 1)
    same, other = -(p * math.log(p) + q * math.log(q)), -(q * math.log(p) + p * math.log(q))
    assert agreement(sparse, dense)["cross_entropy"] == pytest.approx((same + other) / 2, abs=1e-6)
