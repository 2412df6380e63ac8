"""What a method prunes: the weights that an allocation covers, their masks, and the optimizers that move them."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from acdc_cli.sparsity.allocate import Allocation, shares_of
from acdc_cli.sparsity.binding import Binding
from acdc_cli.sparsity.coverage import warn_of_uncovered
from acdc_cli.sparsity.hooks import Optimizers, hold_at_zero, mask_gradients, optimizers_of
from acdc_cli.sparsity.layer import WHAT_IS_PRUNABLE
from acdc_cli.sparsity.masks import MaskSet
from acdc_cli.sparsity.method import plain_model
from acdc_cli.sparsity.moments import InitialState
from acdc_cli.sparsity.prunable import prunable_layers, prunable_weights
from acdc_cli.sparsity.rules import Share
from acdc_cli.sparsity.steps import unless_skipped, with_gradients

Action = Callable[[], None]
TOGETHER = "Copy (model, optimizer, method) in one call, or attach to what is trained"


@dataclass(eq=False)
class Covered:
    """A model as a method sees it, and the hooks by which the method acts.

    Parameters and optimizers lose their hooks when they are copied or pickled. This object puts them on again: copied
    or pickled together with the model and the optimizer, it acts on the copies, and on nothing else.

    Attributes:
        model: out of its wrappers.
        weights: those that some target is for, those that stay dense included, frozen ones not.
        shares: which of them share which target; frozen ones are in a share of their own, without a target.
        masks: all ones, not enforced.
        initial: one for each optimizer: how its state begins.
        hooks: what ``release`` takes off again; empty where nothing acts.
    """

    model: nn.Module
    weights: dict[str, nn.Parameter]
    shares: list[Share]
    masks: MaskSet
    optimizers: list[Optimizer]
    initial: list[InitialState] = field(init=False)
    hooks: list[RemovableHandle] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.initial = [InitialState(optimizer) for optimizer in self.optimizers]
        self._gradient_masks: MaskSet | None = None
        self._before: Action | None = None
        self._after: Action | None = None
        self._is_held = False
        self._learned: list[tuple[list[nn.Parameter], dict[str, Any]]] = []
        self._steps = 0
        self._epoch: tuple[int, int] | None = None  # the last one that began, and the steps until then
        self._is_untrained_copy = False

    @property
    def ranked(self) -> list[Share]:
        """The shares that masks are chosen for."""
        return [share for share in self.shares if share.why_dense != "frozen"]

    def learn(self, parameters: list[nn.Parameter], **options: Any) -> None:
        """Have the first optimizer train parameters of the method's own, in a group with these options."""
        self._learned.append((parameters, options))
        self.optimizers[0].add_param_group({"params": parameters, **options})

    def unlearn(self) -> None:
        """Take what ``learn`` has added out of the optimizer again."""
        optimizer = self.optimizers[0]
        own = {id(parameter) for parameters, _ in self._learned for parameter in parameters}
        optimizer.param_groups[:] = [
            group for group in optimizer.param_groups if own.isdisjoint(map(id, group["params"]))
        ]
        for parameters, _ in self._learned:
            for parameter in parameters:
                optimizer.state.pop(parameter, None)
        self._learned = []

    def act(
        self,
        *,
        gradient_masks: MaskSet | None = None,
        is_held: bool = False,
        before: Action | None = None,
        after: Action | None = None,
    ) -> None:
        """Put the hooks on.

        Several optimizers step in the order in which they were given: before the first of them, after the last. A step
        that computes its gradients itself, by a closure, is begun where it has them; one that a gradient scaler skips
        is none.

        Args:
            gradient_masks: what gradients are masked by, see ``mask_gradients``.
            is_held: whether weights outside the masks are set to zero after each step, see ``hold_at_zero``.
            before: called before each step. Methods of an object, so that a copy of the object has them called.
            after: called after each step.
        """
        self._gradient_masks, self._is_held, self._before, self._after = gradient_masks, is_held, before, after
        self._put_on()

    def _put_on(self) -> None:
        self._binding: Binding | None = None  # made at the first step: a copy's model may not be whole before
        self._masked: set[str] = set()  # gradients that have been masked as they accumulated, since the last step
        self.hooks = (
            [] if self._gradient_masks is None else mask_gradients(self.weights, self._gradient_masks, self._masked)
        )
        if self._is_held:
            self.hooks += hold_at_zero(self.weights, self.masks, self.optimizers)
        if self._before is not None:
            hook = with_gradients(unless_skipped(self._before))
            self.hooks.append(self.optimizers[0].register_step_pre_hook(hook))
        if self._after is not None:
            self.hooks.append(self.optimizers[-1].register_step_post_hook(unless_skipped(self._after)))
        self.hooks.append(_look_at_every_step(self))

    def release(self) -> None:
        """Take all hooks off."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def rebind(self, model: nn.Module, optimizer: Optimizers) -> None:
        """Take over another model's weights of the same names, and what trains them, with the masks as they are.

        Raises:
            ValueError: if a weight is missing or has another shape, or no optimizer holds it.
            TypeError: for a wrapper around an optimizer that calls no hooks.
        """
        plain = plain_model(model)
        found = prunable_weights(plain, embeddings=True)
        for name, weight in self.weights.items():
            if name not in found or found[name].shape != weight.shape:
                raise ValueError(f"{name}: this model has no weight of that name and shape; use attach(...) for it")
        weights = {name: found[name] for name in self.weights}
        optimizers, learned = optimizers_of(optimizer, weights), self._learned
        self.release()
        self.unlearn()
        self.model, self.weights, self.optimizers = plain, weights, optimizers
        for parameters, options in learned:
            self.learn(parameters, **options)
        self.initial = [InitialState(each) for each in optimizers]
        self._put_on()
        if self._is_held and self.masks.enforced:
            self.masks.apply_(weights)

    def begin_epoch(self, epoch: int) -> None:
        """Check that this still is the model that is trained; warn if the epoch before had no step.

        Raises:
            RuntimeError: if parameters were replaced since, or if a copy has had an epoch without any step.
        """
        if not self.hooks:
            return
        self._bound().check()
        if self._epoch is not None and self._epoch == (epoch - 1, self._steps):
            message = (
                f"epoch {epoch - 1} (0-based) has had no step of the optimizer that this method is attached to: is it "
                "a copy of the model that is trained? " + TOGETHER
            )
            if self._is_untrained_copy:
                raise RuntimeError(message)
            warnings.warn(message, stacklevel=3)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._steps)

    def _bound(self) -> Binding:
        if self._binding is None:
            own = [parameter for parameters, _ in self._learned for parameter in parameters]
            self._binding = Binding(self.model, self.weights, self.optimizers, own)
        return self._binding

    def look_at(self, optimizer: Optimizer) -> None:
        """Before a step of any optimizer: that this one may do it, and that its gradients are masked."""
        if not any(optimizer is each for each in self.optimizers):
            if self._binding is not None or _is_whole(self.model):
                self._bound().check_other(optimizer)
                self._warn_of_copies_apart(optimizer)
            return
        self._is_untrained_copy = False
        self._bound().check()
        masks = self._gradient_masks
        if masks is not None and masks.enforced and not masks.dense_gradients and len(self._masked) < len(self.weights):
            self._mask_what_came_otherwise(masks)
        if optimizer is self.optimizers[-1]:
            self._masked.clear()
            self._steps += 1

    def _warn_of_copies_apart(self, optimizer: Optimizer) -> None:
        """Warn once if a copy waits for its first step while a model just like its own is trained without a method.

        Who copies model and method one by one gets a method that acts on a model of its own.
        """
        if not self._is_untrained_copy or id(optimizer) in self._warned_of:
            return
        if any(optimizer is each for covered in _FOLLOWED.values() for each in covered.optimizers):
            return
        moved = Counter(each.shape for group in optimizer.param_groups for each in group["params"])
        if Counter(weight.shape for weight in self.weights.values()) <= moved:
            self._warned_of.add(id(optimizer))
            warnings.warn(
                "no method masks the weights that this optimizer moves, while a copy of one, whose model has weights "
                "of the same shapes, has had no step. If it is to mask them: " + TOGETHER,
                stacklevel=5,
            )

    def _mask_what_came_otherwise(self, masks: MaskSet) -> None:
        """Gradients that somebody has put there, or of weights whose hooks ``torch.utils.swap_tensors`` has lost."""
        for name, weight in self.weights.items():
            if name not in self._masked and weight.grad is not None and not weight.grad.is_sparse:
                masks.apply_to_(name, weight.grad)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("hooks", "_binding", "_masked")
        return {key: value for key, value in vars(self).items() if key not in left_out} | {"hooked": bool(self.hooks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        is_hooked = state.pop("hooked")
        vars(self).update(state)
        if any(isinstance(each, LBFGS) and not hasattr(each, "_params") for each in self.optimizers):
            raise TypeError(
                "PyTorch's LBFGS cannot be copied or pickled; make a new one over the copied model's parameters, "
                "attach(model, optimizer), and load the state dicts of model and method"
            )
        self.hooks, self._is_untrained_copy = [], True
        self._warned_of: set[int] = set()  # ids of optimizers
        if is_hooked:
            self._put_on()


def _is_whole(model: nn.Module) -> bool:
    """False for a copy that failed midway and still waits for the garbage collector: its modules have no parameters."""
    try:
        return all("_parameters" in vars(module) for module in model.modules())
    except AttributeError:
        return False


_FOLLOWED: weakref.WeakValueDictionary[int, Covered] = weakref.WeakValueDictionary()  # those whose hooks are on


def _look_at_every_step(covered: Covered) -> RemovableHandle:
    """Have ``look_at`` called before the steps of all optimizers of the process: a new one has no hooks of its own.

    This does not keep the model in memory.
    """
    handle = RemovableHandle(_FOLLOWED)
    _FOLLOWED[handle.id] = covered
    return handle


def _before_any_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    for covered in list(_FOLLOWED.values()):
        covered.look_at(optimizer)


# Once for the process and for good: hooks cannot come and go while PyTorch goes through them.
register_optimizer_step_pre_hook(_before_any_step)


def cover(model: nn.Module, optimizer: Optimizers, allocation: Allocation) -> Covered:
    """Find what an allocation covers in a model (wrapped or not).

    Frozen weights are left alone: what is pruned has to be able to come back. A warning names the weights that no
    method can prune.

    Raises:
        ValueError: if the model has nothing to prune, cannot take the allocation, or has weights no optimizer holds.
        TypeError: for a wrapper around an optimizer that calls no hooks.
    """
    model = plain_model(model)
    weights = prunable_weights(model, embeddings=True)
    frozen = tuple(name for name, weight in weights.items() if not weight.requires_grad)
    layers = prunable_layers(model, embeddings=True)
    trained = {name: layer for name, layer in layers.items() if name not in frozen}
    if all(layer.is_embedding for layer in trained.values()):
        raise ValueError(f"the model has no {WHAT_IS_PRUNABLE} layer to prune that is trained")
    shares = shares_of(trained, allocation)
    names = {name for share in shares for name in share.names}
    covered = {name: weight for name, weight in weights.items() if name in names}
    shares += [Share(frozen, None, "frozen")] if frozen else []
    optimizers = optimizers_of(optimizer, covered)
    warn_of_uncovered(model, callers=3)
    return Covered(model, covered, shares, MaskSet(covered), optimizers)
