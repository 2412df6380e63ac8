"""The parts that all examples share: a data set, and the measurement of the two models. Replace them by your own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from acdc_cli.sparsity import prunable_weights

State = dict[str, Tensor]


class Digits(NamedTuple):
    """Images of handwritten digits, 8 x 8 pixels with 17 grey values. They are part of scikit-learn: no download."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Trained(NamedTuple):
    """The result of an example: a sparse and a dense model as plain state dicts, and the numbers that it prints."""

    sparse: State
    dense: State
    sparsity: float
    sparse_accuracy: float
    dense_accuracy: float

    def __str__(self) -> str:
        accuracies = f"sparse {self.sparse_accuracy:.3f}, dense {self.dense_accuracy:.3f}"
        return f"sparsity {self.sparsity:.4f}; accuracy: {accuracies}"


def digits() -> Digits:
    """Return 1797 images of shape (8, 8) with pixels from 0 to 16, of which every fifth is held out for testing."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32), torch.tensor(data.target)
    test = torch.arange(len(labels)) % 5 == 0
    return Digits(images[~test], labels[~test], images[test], labels[test])


def measure(model: nn.Module, sparse: State, dense: State, images: Tensor, labels: Tensor) -> Trained:
    """Measure the accuracy of both models, and the sparsity of the sparse one.

    Both state dicts are loaded into ``model``, the sparse one last.
    """
    accuracies = {}
    for kind, state in (("dense", dense), ("sparse", sparse)):
        model.load_state_dict(state)
        accuracies[kind] = accuracy(model, images, labels)
    weights = prunable_weights(model).values()
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    sparsity = zeros / sum(weight.numel() for weight in weights)
    return Trained(sparse, dense, sparsity, accuracies["sparse"], accuracies["dense"])


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the top-1 accuracy of a model whose output is the logits, or has an attribute ``logits``."""
    device = next(model.parameters()).device
    output = model.eval()(images.to(device))
    logits = output if isinstance(output, Tensor) else output.logits
    return float((logits.argmax(dim=1).cpu() == labels).float().mean())
