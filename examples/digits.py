"""What the examples share and you replace by your own: a data set, and how the two models are measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from acdc_cli.sparsity import prunable_weights

State = dict[str, Tensor]


class Digits(NamedTuple):
    """Handwritten digits, 8 x 8 pixels of 17 grey values: real ones, part of scikit-learn, so there is no download."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class Trained(NamedTuple):
    """What an example leaves: a sparse and a dense model as plain state dicts, and what it prints about them."""

    sparse: State
    dense: State
    sparsity: float
    sparse_accuracy: float
    dense_accuracy: float

    def __str__(self) -> str:
        accuracies = f"sparse {self.sparse_accuracy:.3f}, dense {self.dense_accuracy:.3f}"
        return f"sparsity {self.sparsity:.4f}; accuracy: {accuracies}"


def digits() -> Digits:
    """1797 images of shape (8, 8) with pixels 0 to 16; every fifth is held out."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32), torch.tensor(data.target)
    test = torch.arange(len(labels)) % 5 == 0
    return Digits(images[~test], labels[~test], images[test], labels[test])


def measure(model: nn.Module, sparse: State, dense: State, images: Tensor, labels: Tensor) -> Trained:
    """Load both into the model, one after the other, the sparse one last, and count right answers and zeros."""
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
    """Top-1. The model's output is the logits, or has them, as in Hugging Face."""
    device = next(model.parameters()).device
    output = model.eval()(images.to(device))
    logits = output if isinstance(output, Tensor) else output.logits
    return float((logits.argmax(dim=1).cpu() == labels).float().mean())
