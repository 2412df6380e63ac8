"""What every sparse method offers to a training loop."""

from __future__ import annotations

import copy
from typing import Any, Protocol, Self

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from acdc_cli.sparsity.hooks import Optimizers
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.work import Work


class Method(Protocol):
    """The verbs that the loop calls. Between them a method acts through optimizer and gradient hooks."""

    def attach(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Bind to a model and its optimizer, before the first step."""
        ...

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> Self:
        """Go on with a model of the same weights and another optimizer: masks and position stay as they are.

        For parameters that have been replaced, and for a new optimizer. Weights outside the masks become zero at once
        where the masks hold them there.

        Raises:
            ValueError: if a weight is missing or has another shape, or no optimizer holds it.
            TypeError: for a wrapper around an optimizer that calls no hooks.
        """
        ...

    def detach(self) -> None:
        """Take the hooks off again: the weights stay as they are, and nothing holds them there any more."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Do what is due before the epoch's (0-based) first step."""
        ...

    def work(self) -> Work:
        """What a step of the current epoch costs."""
        ...

    @property
    def masks(self) -> MaskSet | None:
        """The newest masks, or None if there are none (yet)."""
        ...

    @property
    def mask_change(self) -> float | None:
        """How far this epoch's new masks are from those before, in [0, 1]; None if none are new."""
        ...

    @property
    def shares(self) -> list[Share]:
        """Which weights are pruned to which target, and which stay dense throughout; empty without masks."""
        ...

    def outputs(self) -> dict[str, dict[str, Tensor] | None]:
        """``{"sparse": state dict, "dense": state dict}``, None for a model that the method does not make."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on, beside the model's and the optimizer's own state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        ...


def plain_model(model: nn.Module) -> nn.Module:
    """The model itself, out of DataParallel, DistributedDataParallel, torch.compile and AveragedModel."""
    while True:
        if isinstance(model, (DataParallel, DistributedDataParallel, AveragedModel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile's
            model = inner
        else:
            return model


def model_state(model: nn.Module, masks: MaskSet | None = None) -> dict[str, Tensor]:
    """Plain state dict: detached copies of all parameters and buffers, under the model's own names.

    Args:
        model: the model, wrapped or not, or an average of it (``torch.optim.swa_utils.AveragedModel``; of timm's
            ``ModelEmaV3`` its ``module``).
        masks: those of the method that trains it. An average remembers weights from before the sparse phase began:
            while the masks are enforced it is masked as it is read.
    """
    model = plain_model(model)
    state = {
        name: value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)  # a module's extra state
        for name, value in model.state_dict().items()
    }
    if masks is not None and masks.enforced:
        masked = {id(model.get_parameter(name)): name for name in masks}
        for name, parameter in model.named_parameters(remove_duplicate=False):  # a tied weight under each of its names
            if id(parameter) in masked:
                masks.apply_to_(masked[id(parameter)], state[name])
    return state
