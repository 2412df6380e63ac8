"""What the methods that cover weights have in common: attach, detach, rebind, masks and outputs."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.covered import Covered, cover
from acdc_cli.sparsity.hooks import Optimizers
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import model_state
from acdc_cli.sparsity.rules import Share

ATTACH_FIRST = "attach(model, optimizer) comes first"


class CoveringMethod:
    """A base for sparse methods (see ``method.Method``). It holds the weights that are covered and their masks.

    A method says what differs: ``_begin`` puts its hooks on, ``_check`` may refuse a model or an optimizer, and
    ``_rebound`` acts on a new model. It makes a sparse model and no dense one unless it has ``outputs`` of its own.

    Attributes:
        allocation: how much is removed, and of which layers; None: the zeros that there are.
        shares: which weights have which target; empty before ``attach``.
    """

    def __init__(self, allocation: Allocation | None) -> None:
        self.allocation = allocation
        self.shares: list[Share] = []
        self._covered: Covered | None = None
        self._masks = MaskSet({})

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to a model (wrapped or not) and the optimizer or optimizers that train it, before the first step.

        Frozen weights are left alone: what is pruned has to be able to come back. Attached again, the method begins
        anew.

        Returns:
            The method itself.

        Raises:
            ValueError: if the model has nothing to prune, cannot take the sparsity, or has weights no optimizer holds.
            TypeError: for a wrapper around an optimizer that calls no hooks.
        """
        self.detach()
        covered = self._cover(model, optimizer)
        self._check(model, covered)
        self._covered, self.shares, self._masks = covered, covered.shares, covered.masks
        self._begin(covered)
        return self

    def _cover(self, model: nn.Module, optimizer: Optimizers) -> Covered:
        """Return what the method covers of a model. Raise ValueError if it can cover nothing."""
        assert self.allocation is not None
        return cover(model, optimizer, self.allocation)

    def _check(self, model: nn.Module, covered: Covered) -> None:
        """Raise ValueError for a model, or optimizers, that the method cannot work with."""

    def _begin(self, covered: Covered) -> None:
        """Forget everything about an earlier model, and put the hooks on."""
        raise NotImplementedError

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Go on with a model of the same weights and another optimizer; see ``Method.rebind``. Returns itself."""
        if self._covered is None:
            return self.attach(model, optimizer)
        self._covered.rebind(model, optimizer)
        self._rebound(self._covered)
        return self

    def _rebound(self, covered: Covered) -> None:
        """Give the new model what it has to hold between two steps."""

    def detach(self) -> None:
        """Take the hooks off again: the weights stay as they are, and nothing holds them there any more."""
        if self._covered is not None:
            self._covered.release()

    @property
    def masks(self) -> MaskSet | None:
        """The masks now; None before ``attach``."""
        return None if self._covered is None else self._masks

    def _attached(self) -> Covered:
        """Return what is covered. Raises RuntimeError before ``attach``."""
        if self._covered is None:
            raise RuntimeError(ATTACH_FIRST)
        return self._covered

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """Return the sparse model, as detached copies. Raises RuntimeError before ``attach``."""
        return {"sparse": model_state(self._attached().model), "dense": None}
