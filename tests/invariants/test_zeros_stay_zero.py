"""Weights outside the mask are exactly 0.0 after every step, however a target is spread and weights lie in memory.

Optimizers, precisions and ranks are the pairwise suite's.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from acdc_cli import ACDC, Timeline

OPTIMIZERS = {
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=1e-1),
}
PRUNABLE = {
    "first.weight": 216,
    "depthwise.weight": 72,
    "pointwise.weight": 128,
    "shortcut.weight": 128,
    "fc.weight": 80,
}
SPREADS: dict[str, tuple[dict[str, Any], int]] = {  # options, and the weights removed of the 624
    "global": ({"sparsity": 0.8}, 499),  # round(0.8 * 624)
    "uniform": ({"sparsity": 0.8, "distribution": "uniform"}, 499),  # 173 + 58 + 102 + 102 + 64
    "erk": ({"sparsity": 0.8, "distribution": "erk"}, 499),
    "rule": ({"sparsity": 0.8, "rules": {"first": 0}}, 326),  # round(0.8 * 408)
    "blocks": ({"sparsity": 0.8, "block": (4, 4)}, 205),  # round(0.8 * 256): point-wise and short-cut alone divide
    "2:4": ({"sparsity": "2:4"}, 168),  # half of all but the first and the depth-wise layer: half of 336
}
TIMELINE = Timeline.of(
    [("dense", 0, 1), ("sparse", 1, 3), ("dense", 3, 4), ("sparse", 4, 5), ("dense", 5, 6), ("sparse", 6, 8)]
)


class SmallConvNet(nn.Module):
    """First, depth-wise, point-wise and short-cut convolutions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 16, 1)
        self.shortcut = nn.Conv2d(8, 16, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.norm(self.pointwise(self.depthwise(x)) + self.shortcut(x)))
        return self.fc(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
def test_weights_outside_the_mask_are_zero_after_every_step(
    optimizer_name: str, spread: str, channels_last: bool
) -> None:
    torch.manual_seed(0)
    model = SmallConvNet()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    options, removed = SPREADS[spread]
    method = ACDC(TIMELINE, **options).attach(model, optimizer)
    weights = {key: tensor for key, tensor in model.named_parameters() if key in PRUNABLE}
    reentered = {}
    for epoch in range(8):
        method.begin_epoch(epoch)
        is_sparse = TIMELINE.phase(epoch).kind == "sparse"
        outside = {key: weight == 0.0 for key, weight in weights.items()} if epoch else {}
        if is_sparse:
            assert sum(int(mask.sum()) for mask in outside.values()) == removed
            assert all(torch.equal(outside[key], ~method.masks[key]) for key in weights)
        for step in range(4):
            generator = torch.Generator().manual_seed(10 * epoch + step)
            images = torch.randn(8, 3, 8, 8, generator=generator)
            labels = torch.randint(5, (8,), generator=generator)
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            if is_sparse:
                for key, mask in outside.items():
                    assert int(weights[key][mask].count_nonzero()) == 0, f"{key}, epoch {epoch}, step {step}"
        if epoch and not is_sparse:
            reentered[epoch] = sum(int(weights[key][mask].count_nonzero()) for key, mask in outside.items())
    assert all(count > 0 for count in reentered.values())
    assert list(reentered) == [3, 5]
