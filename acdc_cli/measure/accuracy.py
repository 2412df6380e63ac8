"""The accuracy of a model, and the agreement of two models sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 4096  # samples whose logits are converted to double precision at a time


@torch.no_grad()
def measure(
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    keep_logits: bool,
    joined: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> tuple[dict[str, float | None], Tensor | None]:
    """Measure the loss and accuracy of a model over all batches. The model must be in eval mode.

    Three numbers per sample are kept on the device. With ``keep_logits``, the logits are kept on the CPU, in the
    precision in which the model computes them. The host waits for the device only once, at the end.

    Args:
        forward: images -> logits (n, classes).
        batches: pairs of images and labels.
        keep_logits: whether to return the logits.
        joined: concatenates the parts (n, ...) measured on all ranks, and returns the result on the CPU.

    Returns:
        The metrics of ``accuracy`` over the batches of all ranks, and the logits (N, classes) of this rank's samples or
        None.
    """
    scores: list[list[Tensor]] = []
    logits: list[Tensor] = []
    for images, labels in batches:
        outputs = forward(images)
        scores.append(_scores(outputs, labels))
        if keep_logits:
            logits.append(outputs.cpu())
    log_likelihood, top1, top5 = (joined(torch.cat(column)) for column in zip(*scores, strict=True))
    return _means(log_likelihood, top1, top5), torch.cat(logits) if keep_logits else None


def accuracy(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return ``val_loss`` (mean cross entropy without label smoothing) and ``val_top1`` and ``val_top5`` as fractions.

    ``val_top5`` is None if there are fewer than 5 classes.
    """
    return _means(*_scores(logits, labels))


def _scores(logits: Tensor, labels: Tensor) -> list[Tensor]:
    """Return three tensors (n,): the label's log likelihood, whether it is the top-1 class, whether it is in the top 5.

    The last tensor is empty if there are fewer than 5 classes.
    """
    logits = logits.float()
    top5 = torch.zeros(0, dtype=torch.bool, device=logits.device)
    if logits.shape[1] >= 5:
        top5 = (logits.topk(5, dim=1).indices == labels[:, None]).any(dim=1)
    log_likelihood = logits.double().log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return [log_likelihood, logits.argmax(dim=1) == labels, top5]


def _means(log_likelihood: Tensor, top1: Tensor, top5: Tensor) -> dict[str, float | None]:
    # nll_loss sums in the same order as cross_entropy, so both give the same bits. A plain mean may not.
    loss = F.nll_loss(log_likelihood[:, None], torch.zeros(len(log_likelihood), dtype=torch.long))
    return {
        "val_loss": loss.item(),
        "val_top1": top1.double().mean().item(),
        "val_top5": top5.double().mean().item() if len(top5) else None,
    }


def agreement(
    sparse_logits: Tensor, dense_logits: Tensor, joined: Callable[[Tensor], Tensor] = Tensor.cpu
) -> dict[str, float]:
    """Measure how far the predictions of a sparse and a dense model agree (AC/DC, section 4.3).

    Args:
        sparse_logits: logits of this rank's samples (N, classes).
        dense_logits: logits of the same samples (N, classes).
        joined: as in ``measure``.

    Returns:
        ``top1``: fraction of samples with the same predicted class; ``cross_entropy``: mean of -sum p_dense log
        p_sparse.
    """
    same, cross_entropy = [], []
    for sparse, dense in zip(sparse_logits.split(CHUNK), dense_logits.split(CHUNK), strict=True):
        sparse, dense = sparse.float(), dense.float()
        same.append(sparse.argmax(dim=1) == dense.argmax(dim=1))
        cross_entropy.append((dense.double().softmax(dim=1) * sparse.double().log_softmax(dim=1)).sum(dim=1))
    return {
        "top1": joined(torch.cat(same)).double().mean().item(),
        "cross_entropy": -joined(torch.cat(cross_entropy)).mean().item(),
    }
