"""Static masks: a network that is sparse from the beginning is trained over the weights it has."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from acdc_cli.sparsity.coverage import warn_of_uncovered
from acdc_cli.sparsity.covered import Covered
from acdc_cli.sparsity.hooks import Optimizers, check_same_on_every_rank, optimizers_of
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import model_state, plain_model
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.work import Work, sparse_work


class Static:
    """Every weight that is exactly zero when this is attached stays zero; the others train.

    Fine-tuning of a sparse model, whatever made it sparse. Layers without a zero count as not pruned.
    """

    mask_change = None

    def __init__(self) -> None:
        self.shares: list[Share] = []
        self._covered: Covered | None = None

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Read the masks off the model's prunable weights, and off embeddings that have zeros.

        Returns:
            Itself.

        Raises:
            ValueError: if no weight is zero, or no optimizer holds one that is trained.
            TypeError: for a wrapper around an optimizer that calls no hooks.
        """
        self.detach()
        plain = plain_model(model)
        layers = prunable_layers(plain, embeddings=True)
        weights = {
            name: weight
            for name, weight in prunable_weights(plain, embeddings=True).items()
            if weight.requires_grad and (not layers[name].is_table or not weight.all())
        }
        self._masks = MaskSet(weights)
        self._masks.copy_({name: weight != 0 for name, weight in weights.items()})
        kept = self._masks.kept_per_layer()
        pruned = tuple(name for name, weight in weights.items() if kept[name] < weight.numel())
        if not pruned:
            raise ValueError("no prunable weight is zero, so there is no mask to read off")
        check_same_on_every_rank(self._masks)
        removed = 1 - sum(kept[name] for name in pruned) / sum(weights[name].numel() for name in pruned)
        self.shares = [Share(pruned, removed)]
        if dense := tuple(name for name in weights if name not in pruned):
            self.shares.append(Share(dense, None, "rule"))
        self._covered = covered = Covered(plain, weights, self.shares, self._masks, optimizers_of(optimizer, weights))
        self._masks.enforced = True
        covered.act(gradient_masks=self._masks, is_held=True)
        warn_of_uncovered(plain, callers=1)
        return self

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Go on with a model of the same weights and another optimizer; see ``Method.rebind``. Returns itself."""
        if self._covered is None:
            return self.attach(model, optimizer)
        self._covered.rebind(model, optimizer)
        return self

    def detach(self) -> None:
        """Take the hooks off again: the weights stay as they are, and nothing holds them there any more."""
        if self._covered is not None:
            self._covered.release()

    @property
    def masks(self) -> MaskSet:
        """The masks; they never change."""
        return self._masks

    def begin_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""
        if self._covered is not None:
            self._covered.begin_epoch(epoch)

    def work(self) -> Work:
        """3f: zero weights need neither a product nor a gradient."""
        return sparse_work()

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """The sparse model; there is no dense one. Raises RuntimeError before ``attach``."""
        if self._covered is None:
            raise RuntimeError("attach(model, optimizer) comes first")
        return {"sparse": model_state(self._covered.model), "dense": None}

    def state_dict(self) -> dict[str, Any]:
        """The masks: a weight that training has moved to exactly zero is still a weight."""
        return {"masks": self._masks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. Model and optimizer are restored by their owner."""
        self._masks.load_state_dict(state["masks"])
