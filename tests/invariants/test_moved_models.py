"""A model that gets another dtype, memory format or device after ``attach`` is masked as before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from case_checks import check_exactly_these_are_zero, nonzeros
from case_run import REMOVED, batch, prunable, small_net
from torch import nn

from acdc_cli.sparsity import ACDC, Timeline

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 2), ("dense", 2, 3), ("sparse", 3, 4)])
NEEDS_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device")]
MOVES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "float64": nn.Module.double,
    "bfloat16": nn.Module.bfloat16,
    "channels_last": lambda model: model.to(memory_format=torch.channels_last),
    "cuda": nn.Module.cuda,
}


@pytest.mark.parametrize("at", [0, 1, 2, 3])  # the epoch right after whose beginning it is moved
@pytest.mark.parametrize("name", [*list(MOVES)[:-1], pytest.param("cuda", marks=NEEDS_CUDA)])
def test_weights_outside_the_mask_stay_zero(name: str, at: int) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    method = ACDC(TIMELINE, 0.8).attach(model, optimizer)
    for epoch in range(4):
        method.begin_epoch(epoch)
        if epoch == at:
            MOVES[name](model)
            optimizer.load_state_dict(optimizer.state_dict())  # its moments follow their weights
        weights = prunable(model)
        outside = {key: weight == 0 for key, weight in weights.items()}
        for step in range(3):
            optimizer.zero_grad()
            images, labels = batch(step, epoch)
            F.cross_entropy(model(images.to(model[0].weight)), labels.to(model[0].weight.device)).backward()
            optimizer.step()
            if epoch % 2:
                assert sum(int(places.sum()) for places in outside.values()) == REMOVED
                assert nonzeros({key: weight.grad for key, weight in weights.items()}, outside) == 0
                check_exactly_these_are_zero(weights, outside, f"{name} at {at}, epoch {epoch}, step {step}")
                assert all(torch.equal(method.masks[key], ~places) for key, places in outside.items())
        if epoch == 2:
            assert nonzeros(weights, outside) > 0
