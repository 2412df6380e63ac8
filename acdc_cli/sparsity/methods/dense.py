"""The dense baseline: the same loop, no masks."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from acdc_cli.sparsity.hooks import Optimizers
from acdc_cli.sparsity.method import model_state, plain_model
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.work import Work, dense_work


class Dense:
    """Train all weights from beginning to end."""

    masks = None
    mask_change = None

    def __init__(self) -> None:
        self.shares: list[Share] = []

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to a model. Returns itself."""
        self._model = plain_model(model)
        return self

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to another model. Returns itself."""
        return self.attach(model, optimizer)

    def detach(self) -> None:
        """There are no hooks."""

    def begin_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def work(self) -> Work:
        """3F, whatever the weights are."""
        return dense_work()

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """The dense model; there is no sparse one."""
        return {"sparse": None, "dense": model_state(self._model)}

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing but the model and the optimizer survives an epoch."""
