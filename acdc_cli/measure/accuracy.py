"""How good a model is, and how far two models agree sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def predict(forward: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) in float32 and labels (N,) of all batches, on the CPU. The model must be in eval mode."""
    logits, labels = [], []
    for images, batch_labels in batches:
        logits.append(forward(images).float().cpu())  # a large set's logits would crowd the device
        labels.append(batch_labels.cpu().clone())
    return torch.cat(logits), torch.cat(labels)


def accuracy(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """``val_loss`` (mean cross entropy, no label smoothing), ``val_top1`` and ``val_top5`` as fractions.

    ``val_top5`` is None with fewer than 5 classes.
    """
    top5 = None
    if logits.shape[1] >= 5:
        top5 = (logits.topk(5, dim=1).indices == labels[:, None]).any(dim=1).double().mean().item()
    return {
        "val_loss": F.cross_entropy(logits.double(), labels).item(),
        "val_top1": (logits.argmax(dim=1) == labels).double().mean().item(),
        "val_top5": top5,
    }


def agreement(sparse_logits: Tensor, dense_logits: Tensor) -> dict[str, float]:
    """Do the two models decide alike? (AC/DC, section 4.3)

    Returns:
        ``top1``: fraction of samples with the same prediction; ``cross_entropy``: mean of -sum p_dense log p_sparse.
    """
    p_dense = dense_logits.double().softmax(dim=1)
    log_p_sparse = sparse_logits.double().log_softmax(dim=1)
    return {
        "top1": (sparse_logits.argmax(dim=1) == dense_logits.argmax(dim=1)).double().mean().item(),
        "cross_entropy": -(p_dense * log_p_sparse).sum(dim=1).mean().item(),
    }
