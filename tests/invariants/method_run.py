"""A plain training loop under any method, with what must hold of every method checked after every step."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from case_checks import Named, RawGradients, nonzeros
from case_run import DTYPES, MAX_NORM, Outcome, batch, prunable, small_net
from helpers.every_method import learns_sparsity
from invariant_cases import optimizer_of
from method_cases import EPOCHS, METHODS, SPREADS, STEPS, MethodCase
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from acdc_cli.sparsity import model_state
from acdc_cli.sparsity.masks import unpack

OVERFLOWS = ((0, 1), (1, 2), (2, 0))  # (epoch, step); with fused SGD not its first step ever, see case_run

SPARSE_THROUGHOUT = ("rigl", "set", "static", "magnitude", "top_kast")
AT_ONCE = ("snip", "iht", "dsd")  # they prune to the target or not at all


class MethodRun:
    """A model, its optimizer and its method.

    Args:
        broken: hooks to leave out, ``"gradients"`` or ``"weights"``, to see that the checks notice.
    """

    def __init__(self, case: MethodCase, broken: str = "") -> None:
        self.case, self.how = case, case.how
        self.rank = distributed.get_rank() if self.how.ranks > 1 else 0
        self.model = small_net()
        self.weights = prunable(self.model)
        self.optimizer = optimizer_of(self.how, self.model.parameters())
        self.parallel = DistributedDataParallel(self.model) if self.how.ranks > 1 else None
        self.wrapped = self.parallel or self.model
        target, spread, self.removed = SPREADS[case.spread]
        self.method = METHODS[case.method](target, **spread).attach(self.wrapped, self.optimizer)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9)) if self.how.average else None
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=self.how.precision == "fp16")
        self.raw = RawGradients(self.model)
        self.done = 0  # steps that were taken
        if broken == "gradients":
            for parameter in self.weights.values():
                parameter._post_accumulate_grad_hooks.clear()
        if broken == "weights":
            self.optimizer._optimizer_step_post_hooks.popitem(last=False)  # the first: what masks weights

    def run(self) -> Outcome:
        """All epochs. Raises AssertionError where something does not hold."""
        digests = []
        for epoch in range(EPOCHS):
            self.method.begin_epoch(epoch)
            self.raw.clear()  # of a Fisher matrix's own passes
            self._check_zeros(f"{self.case}, epoch {epoch}, at its start")
            for step in range(STEPS):
                self._step(epoch, step, f"{self.case}, epoch {epoch}, step {step}")
                digests.append(self.method.masks.digest() if self.method.masks else "")
        self._check_outputs()
        everything = b"".join(p.detach().numpy().tobytes() for p in self.model.parameters())
        return Outcome(tuple(digests), hashlib.sha256(everything).hexdigest())

    def _step(self, epoch: int, step: int, where: str) -> None:
        overflow = self.how.precision == "fp16" and (epoch, step) in OVERFLOWS
        self._backward(epoch, step, overflow)
        closed = self._without_gradient()
        gradients = {name: weight.grad for name, weight in self.weights.items()}
        assert nonzeros(gradients, closed) == 0, f"a gradient is not masked: {where}"
        if self.how.clipping:
            self._clip(closed, overflow, where)
        before, saved = [p.detach().clone() for p in self.model.parameters()], self._counted()
        scale, moves = self.scaler.get_scale(), self._replaces_this_step()
        inside = {name: mask.clone() for name, mask in self._inside().items()}
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if overflow:
            assert self.scaler.get_scale() == scale / 2, f"the scaler did not skip: {where}"
            assert all(map(torch.equal, before, self.model.parameters())), f"a skipped step moved weights: {where}"
            assert self._counted() == saved, f"a skipped step counts: {where}"
        else:
            self.done += 1
            moved = [not torch.equal(*pair) for pair in zip(before, self.model.parameters(), strict=True)]
            assert moves or all(moved), f"a parameter stands still: {where}"
            if moves:
                self._check_only_connections_moved(before, inside, where)
        if self.average:
            self.average.update_parameters(self.model)
        self._evaluate()
        self._check_zeros(where)
        if self.average:
            read = model_state(self.average, self.method.masks)
            assert nonzeros(read, self._outside()) == 0, f"the average is not masked: {where}"
        self.optimizer.zero_grad()
        self.raw.clear()

    def _backward(self, epoch: int, step: int, overflow: bool) -> None:
        for micro in range(self.how.accumulation):
            images, labels = batch(self.rank, micro, step, epoch)
            is_last = micro == self.how.accumulation - 1
            with nullcontext() if is_last or self.parallel is None else self.parallel.no_sync():
                with torch.autocast("cpu", DTYPES[self.how.precision], self.how.precision != "fp32"):
                    loss = F.cross_entropy(self.wrapped(images), labels)
                overflows_here = overflow and self.rank == self.how.ranks - 1
                loss = loss * float("inf") if overflows_here else loss
                self.scaler.scale(loss / self.how.accumulation).backward()

    def _evaluate(self) -> None:
        """SparseVD's model has zeros for as long as it is evaluated."""
        self.model.eval()
        with torch.no_grad():
            self.model(batch(0)[0])
        self.model.train()

    def _clip(self, closed: Named, overflow: bool, where: str) -> None:
        all_of_them, inside = self.raw.norms(closed, self.how.ranks, self.scaler.get_scale())
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM))
        if not overflow:
            assert abs(norm - inside) <= 1e-5 * inside, f"clipping saw {norm}, not {inside}: {where}"
            assert not closed or inside < all_of_them, f"nothing to mask: {where}"

    def _inside(self) -> Named:
        masks = self.method.masks
        return dict(masks.items()) if masks is not None and masks.enforced else {}

    def _outside(self) -> Named:
        return {name: ~mask for name, mask in self._inside().items()}

    def _without_gradient(self) -> Named:
        """Where the loss must not reach, by the methods' papers: outside the masks, of Top-KAST outside B.

        Not where gradients of all weights are asked for: IHT's and SparseVD's always, SNIP's first ones, RigL's every
        second.
        """
        method = self.case.method
        if method in ("iht", "sparse_vd") or (method == "snip" and self.done == 0) or self._replaces_this_step():
            return {}
        if method == "top_kast":
            packed = self.method.state_dict()["backward"]
            return {name: ~unpack(packed[name], weight.shape) for name, weight in self.weights.items()}
        return self._outside()

    def _replaces_this_step(self) -> bool:
        """RigL's window: every second step from 2 on, before 7."""
        return self.case.method == "rigl" and self.done in (2, 4, 6)

    def _counted(self) -> Any:
        """What the method counts."""
        state = self.method.state_dict()
        return [state.get("step"), state.get("epoch_steps")]

    def _check_only_connections_moved(self, before: list[torch.Tensor], inside: Named, where: str) -> None:
        for parameter, was in zip(self.model.parameters(), before, strict=True):
            name = next((key for key, weight in self.weights.items() if weight is parameter), None)
            if name is None:
                assert torch.equal(parameter, was), f"RigL's step moved a bias or a norm: {where}"
                continue
            now = self.method.masks[name]
            assert torch.equal(parameter[now & inside[name]], was[now & inside[name]]), f"a weight moved: {where}"
            assert not parameter[now & ~inside[name]].any(), f"a new connection is not 0: {where}"

    def _check_zeros(self, where: str) -> None:
        """Exact zeros outside the masks, and masks of exactly the asked size where the method has got there."""
        outside = self._outside()
        assert nonzeros(self.weights, outside) == 0, f"a weight outside the mask moved: {where}"
        count = sum(int(place.sum()) for place in outside.values())
        if learns_sparsity(self.case.method):
            assert count < sum(weight.numel() for weight in self.weights.values()), f"{count} removed: {where}"
        elif self.case.method in SPARSE_THROUGHOUT:
            assert count == self.removed, f"{count} removed, not {self.removed}: {where}"
        else:
            assert count in (0, self.removed) or self.case.method not in AT_ONCE, f"{count} removed: {where}"
            assert count <= self.removed, f"{count} removed: {where}"

    def _check_outputs(self) -> None:
        state, outside = self.method.outputs()["sparse"], {name: ~mask for name, mask in self.method.masks.items()}
        assert list(state) == list(self.model.state_dict())
        assert nonzeros(state, outside) == 0, f"the model at the end is not masked: {self.case}"
        count = sum(int(place.sum()) for place in outside.values())
        if learns_sparsity(self.case.method):
            assert count > 0, f"nothing removed at the end: {self.case}"
            return
        assert count == self.removed, f"{count} removed at the end, not {self.removed}: {self.case}"


def run_method_case(case: MethodCase) -> Outcome:
    """One case, on this rank."""
    return MethodRun(case).run()
