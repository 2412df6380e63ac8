"""Measure the cost of checking in every step that the masks still act on the parameters that are trained.

    python benchmarks/step_check.py [--device cuda] [--rounds 10]

Two equal models in a sparse phase of AC/DC, one without the check, take steps in turn, so that a machine that slows
down affects both. The ratio is the median over the pairs of steps. On a CPU, times are processor time, which other
programs do not lengthen; on a GPU, they are wall time. The last two columns are about the check alone: the median of
1000 calls, and its fraction of the time of a step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from machine import keep
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import SGD
from torchvision.models import resnet50

from acdc_cli.models.resnet import ResNet
from acdc_cli.sparsity import ACDC, Timeline

TIMELINE = Timeline.of([("dense", 0, 1), ("sparse", 1, 2)])
CHECK_CALLS = 1000
# Name -> (model, shape of the images, pairs of steps per round). ResNet8 on the embedded digits has the shortest steps;
# ResNet50 is the papers' network.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "ResNet8, 32 images of 8 px": (lambda: ResNet(depth=8, width=16, in_channels=1, classes=10), (32, 1, 8, 8), 20),
    "ResNet50, 8 images of 64 px": (resnet50, (8, 3, 64, 64), 1),
}


class Steps:
    """A model in a sparse phase, with a function that takes and times a training step."""

    def __init__(self, network: str, device: torch.device, is_checked: bool) -> None:
        build, shape, _ = NETWORKS[network]
        torch.manual_seed(0)
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.images = torch.randn(shape, device=device)
        self.labels = torch.randint(10, shape[:1], device=device)
        self.model = build().to(device)
        self.optimizer = SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.method = ACDC(TIMELINE, 0.9).attach(self.model, self.optimizer)
        self.method.begin_epoch(1)
        assert self.method._covered is not None
        self.covered = self.method._covered
        if not is_checked:
            self.covered.hooks.pop().remove()

    def seconds(self) -> float:
        """Take one step. Returns its seconds."""
        start = self.clock()
        self.optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        if self.images.is_cuda:
            torch.cuda.synchronize()
        return self.clock() - start

    def check_seconds(self) -> float:
        """Return the median seconds of the check alone."""
        spent = []
        for _ in range(CHECK_CALLS):
            # This is the state after a backward pass, in which the check need not look at gradients.
            self.covered._masked.update(self.covered.weights)
            start = self.clock()
            self.covered.look_at(self.optimizer)
            spent.append(self.clock() - start)
        return statistics.median(spent)


def measure(network: str, rounds: int, device: torch.device) -> dict[str, object]:
    checked, unchecked = (Steps(network, device, is_checked) for is_checked in (True, False))
    pairs = []
    for round_number in range(rounds * NETWORKS[network][2] + 3):
        first, second = (checked, unchecked) if round_number % 2 else (unchecked, checked)
        times = {id(each): each.seconds() for each in (first, second)}
        if round_number >= 3:  # the first three pairs warm up
            pairs.append((times[id(checked)], times[id(unchecked)]))
    step = statistics.median(without for _, without in pairs)
    ratios = [with_check / without for with_check, without in pairs]
    alone = checked.check_seconds()
    return {
        "network": network,
        "weights": len(checked.covered.weights),
        "step_milliseconds": round(1000 * step, 3),
        "ratio_with_over_without": round(statistics.median(ratios), 4),
        "ratio_quartiles": [round(each, 4) for each in statistics.quantiles(ratios, n=4)[::2]],
        "check_microseconds": round(1e6 * alone, 1),
        "check_over_step": round(alone / step, 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = [measure(network, options.rounds, device) for network in NETWORKS]
    table = Table(title=f"A step with the check and without, {device.type}", title_justify="left")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=150).print(table)
    print(keep("step_check", device, rows))


if __name__ == "__main__":
    main()
