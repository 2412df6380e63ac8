"""Static masks: a network that is sparse from the beginning is trained over the weights it has."""

from __future__ import annotations

from typing import Any

from torch import nn

from acdc_cli.sparsity.base import CoveringMethod
from acdc_cli.sparsity.coverage import warn_of_uncovered
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import Optimizers, check_same_on_every_rank, optimizers_of
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import plain_model
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.work import Work, sparse_work


class Static(CoveringMethod):
    """Every weight that is exactly zero when this is attached stays zero; the others train.

    Fine-tuning of a sparse model, whatever made it sparse. Layers without a zero count as not pruned.
    """

    mask_change = None

    def __init__(self) -> None:
        super().__init__(None)

    def _cover(self, model: nn.Module, optimizer: Optimizers) -> Covered:
        """Read the masks off the model's prunable weights, and off embeddings that have zeros.

        Raises:
            ValueError: if no weight is zero, or no optimizer holds one that is trained.
        """
        plain = plain_model(model)
        layers = prunable_layers(plain, embeddings=True)
        weights = {
            name: weight
            for name, weight in prunable_weights(plain, embeddings=True).items()
            if weight.requires_grad and (not layers[name].is_embedding or not weight.all())
        }
        masks = MaskSet(weights)
        masks.copy_({name: weight != 0 for name, weight in weights.items()})
        kept = masks.kept_per_layer()
        pruned = tuple(name for name, weight in weights.items() if kept[name] < weight.numel())
        if not pruned:
            raise ValueError("no prunable weight is zero, so there is no mask to read off")
        check_same_on_every_rank(masks)
        removed = 1 - sum(kept[name] for name in pruned) / sum(weights[name].numel() for name in pruned)
        shares = [Share(pruned, removed)]
        if dense := tuple(name for name in weights if name not in pruned):
            shares.append(Share(dense, None, "rule"))
        covered = Covered(plain, weights, shares, masks, optimizers_of(optimizer, weights))
        warn_of_uncovered(plain, callers=2)
        return covered

    def _begin(self, covered: Covered) -> None:
        self._masks.enforced = True
        covered.act(gradient_masks=self._masks, is_held=True)

    def begin_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""
        if self._covered is not None:
            self._covered.begin_epoch(epoch)

    def work(self) -> Work:
        """3f: zero weights need neither a product nor a gradient."""
        return sparse_work()

    def state_dict(self) -> dict[str, Any]:
        """The masks: a weight that training has moved to exactly zero is still a weight."""
        return {"masks": self._masks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._masks.load_state_dict(state["masks"])
