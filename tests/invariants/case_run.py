"""A plain training loop, put together as a case says, with the invariants checked after every step."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from case_checks import FreshStep, Named, RawGradients, check_average, check_exactly_these_are_zero, nonzeros, smallest
from invariant_cases import Case, optimizer_of
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from acdc_cli.sparsity import ACDC, Timeline

STEPS = 2  # an epoch
SPARSITY = 0.8
REMOVED = 83  # round(0.8 * (72 + 32))
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
MAX_NORM = 0.01


@dataclass(frozen=True)
class Outcome:
    """What has to be the same on every rank."""

    mask_digests: tuple[str, ...]
    weights: str


def small_net() -> nn.Module:
    """Convolution, batch norm and linear: 72 + 32 prunable weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(8, 4)
    )


def prunable(model: nn.Module) -> Named:
    """Of the plain model, by hand."""
    return {"0.weight": model[0].weight, "5.weight": model[5].weight}


def batch(*seed_parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels that depend on these numbers alone."""
    generator = torch.Generator().manual_seed(sum(part * 100**place for place, part in enumerate(seed_parts)))
    return torch.randn(8, 2, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)


def skipped_steps(case: Case) -> set[tuple[int, int]]:
    """(epoch, step) whose loss overflows: in sparse and dense phases, first steps and others.

    Not the first step after a reset with fused SGD, which PyTorch 2.15 itself gets wrong: a step that the scaler skips
    leaves the momentum in memory that nobody has written.
    """
    if case.precision != "fp16":
        return set()
    fused_sgd = case.implementation == "fused" and case.optimizer in ("sgd", "nesterov")
    return {(0, 1), (1, 1), (2, 1 if fused_sgd else 0), (3, 0)}


class CaseRun:
    """A model, its optimizer and its method.

    Args:
        phases: of one epoch each, dense and sparse in turn; an even number from 4 on.
        device: where to train.
        broken: options for ``ACDC`` under which the invariants do not hold, to see that the checks notice.
    """

    def __init__(self, case: Case, phases: int = 6, device: str = "cpu", **broken: Any) -> None:
        self.case, self.device = case, device
        self.kinds = ["dense", "sparse"] * (phases // 2)
        self.rank = distributed.get_rank() if case.ranks > 1 else 0
        self.model = small_net().to(device)
        self.weights = prunable(self.model)
        self.optimizer = optimizer_of(case, self.model.parameters())
        self.parallel = DistributedDataParallel(self.model) if case.ranks > 1 else None
        self.wrapped = self.parallel or self.model
        if case.compiled:
            self.wrapped = torch.compile(self.wrapped)
        timeline = Timeline.of([(kind, epoch, epoch + 1) for epoch, kind in enumerate(self.kinds)])
        self.method = ACDC(timeline, SPARSITY, **broken).attach(self.wrapped, self.optimizer)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(0.9)) if case.average else None
        self.scaler = torch.amp.GradScaler(device, init_scale=2.0**10, enabled=case.precision == "fp16")
        self.raw = RawGradients(self.model)
        self.outside: Named = {}

    def run(self) -> Outcome:
        """All epochs. Raises AssertionError where an invariant does not hold."""
        digests = []
        for epoch, kind in enumerate(self.kinds):
            if kind == "sparse":
                self.outside = smallest(self.weights, REMOVED)
            self.method.begin_epoch(epoch)
            if kind == "sparse":
                check_exactly_these_are_zero(self.weights, self.outside, f"{self.case}, epoch {epoch}, at its start")
                digests.append(self.method.masks.digest())
            self._epoch(epoch)
        everything = b"".join(p.detach().cpu().numpy().tobytes() for p in self.model.parameters())
        return Outcome(tuple(digests), hashlib.sha256(everything).hexdigest())

    def _epoch(self, epoch: int) -> None:
        sparse, taken = self.kinds[epoch] == "sparse", 0
        for step in range(STEPS):
            where = f"{self.case}, epoch {epoch}, step {step}"
            self._backward(epoch, step)
            if sparse:
                gradients = {name: weight.grad for name, weight in self.weights.items()}
                assert nonzeros(gradients, self.outside) == 0, f"a gradient is not masked: {where}"
            scale = self.scaler.get_scale()
            before = [parameter.detach().clone() for parameter in self.model.parameters()]
            overflow = (epoch, step) in skipped_steps(self.case)
            if self.case.clipping:
                self._clip(scale, overflow, where)
            first = epoch > 0 and not sparse and not taken and not overflow
            fresh = FreshStep(self.case, self.model, 1 if self.case.clipping else scale) if first else None
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if overflow:
                assert self.scaler.get_scale() == scale / 2, f"the scaler did not skip: {where}"
                assert all(map(torch.equal, before, self.model.parameters())), f"a skipped step moved weights: {where}"
            else:
                assert self.scaler.get_scale() == scale, f"the scaler skipped: {where}"
                taken += 1
            if sparse:
                check_exactly_these_are_zero(self.weights, self.outside, where)
            if fresh:
                fresh.check_same(self.model, self.optimizer, where)
                assert nonzeros(self.weights, self.outside) > 0, f"nothing re-entered: {where}"
            if self.average:
                self.average.update_parameters(self.model)
                check_average(self.average, self.method.masks, self.outside if sparse else {}, where)
            self.optimizer.zero_grad()
            self.raw.clear()

    def _backward(self, epoch: int, step: int) -> None:
        overflow = (epoch, step) in skipped_steps(self.case) and self.rank == self.case.ranks - 1  # on one rank alone
        for micro in range(self.case.accumulation):
            images, labels = (part.to(self.device) for part in batch(self.rank, micro, step, epoch))
            with self._no_sync_before_the_last(micro):
                with torch.autocast(self.device, DTYPES[self.case.precision], self.case.precision != "fp32"):
                    loss = F.cross_entropy(self.wrapped(images), labels)
                loss = loss * float("inf") if overflow else loss
                self.scaler.scale(loss / self.case.accumulation).backward()

    def _no_sync_before_the_last(self, micro: int) -> AbstractContextManager[None]:
        last = micro == self.case.accumulation - 1
        return nullcontext() if last or self.parallel is None else self.parallel.no_sync()

    def _clip(self, scale: float, overflow: bool, where: str) -> None:
        """Clip; the norm that clipping sees is that of the gradients inside the mask, which is a smaller one."""
        outside = self.outside if self.method.masks and self.method.masks.enforced else {}
        all_of_them, inside = self.raw.norms(outside, self.case.ranks, scale)
        self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM))
        if overflow:
            return
        assert abs(norm - inside) <= 1e-5 * inside, f"clipping saw {norm}, not {inside}: {where}"
        assert inside > MAX_NORM, f"nothing to clip: {where}"
        assert not outside or inside < 0.999 * all_of_them, f"nothing to mask: {where}"


def run_case(case: Case, phases: int = 6, device: str = "cpu") -> Outcome:
    """One case, on this rank."""
    return CaseRun(case, phases, device).run()
