"""How good a model is, and how far two models agree sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 4096  # samples whose logits are worked on in double precision at a time


@torch.no_grad()
def measure(
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    keep_logits: bool,
    joined: Callable[[Tensor], Tensor] = Tensor.cpu,
) -> tuple[dict[str, float | None], Tensor | None]:
    """Accuracy over all batches. The model must be in eval mode.

    What is kept of a sample is three numbers on its device, and with ``keep_logits`` its logits, in the precision that
    the model has computed them in, on the CPU. The host waits for the device once, at the end.

    Args:
        joined: puts the parts (n, ...) that several ranks have measured one after the other, on the CPU.

    Returns:
        As ``accuracy``, over all ranks' batches, and the logits (N, classes) of this one's, or None.
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
    """``val_loss`` (mean cross entropy, no label smoothing), ``val_top1`` and ``val_top5`` as fractions.

    ``val_top5`` is None with fewer than 5 classes.
    """
    return _means(*_scores(logits, labels))


def _scores(logits: Tensor, labels: Tensor) -> list[Tensor]:
    """Of each sample: log likelihood of its label, whether that came first, whether among five (none: < 5 classes)."""
    logits = logits.float()
    top5 = torch.zeros(0, dtype=torch.bool, device=logits.device)
    if logits.shape[1] >= 5:
        top5 = (logits.topk(5, dim=1).indices == labels[:, None]).any(dim=1)
    log_likelihood = logits.double().log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return [log_likelihood, logits.argmax(dim=1) == labels, top5]


def _means(log_likelihood: Tensor, top1: Tensor, top5: Tensor) -> dict[str, float | None]:
    # nll_loss and not a plain mean: it adds up as cross_entropy does, to the last bit.
    loss = F.nll_loss(log_likelihood[:, None], torch.zeros(len(log_likelihood), dtype=torch.long))
    return {
        "val_loss": loss.item(),
        "val_top1": top1.double().mean().item(),
        "val_top5": top5.double().mean().item() if len(top5) else None,
    }


def agreement(
    sparse_logits: Tensor, dense_logits: Tensor, joined: Callable[[Tensor], Tensor] = Tensor.cpu
) -> dict[str, float]:
    """Do the two models decide alike? (AC/DC, section 4.3)

    Args:
        sparse_logits, dense_logits: of this rank's samples (N, classes).
        joined: as in ``measure``.

    Returns:
        ``top1``: fraction of samples with the same prediction; ``cross_entropy``: mean of -sum p_dense log p_sparse.
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
