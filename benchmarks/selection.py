"""Measure the time to find the largest magnitudes of a whole network and to write the masks.

    python benchmarks/selection.py [--device cuda] [--rounds 7]

Three functions compute the same masks: ``topk`` and ``kthvalue`` over the concatenated magnitudes, as published code
does it, and ``keep_largest``. All of them run in each round, so that a machine that slows down affects all. The ratio
is that of the medians. Peak memory is measured in a separate process for each function, without the memory of the
weights themselves.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from machine import keep
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.models import resnet50

from acdc_cli.measure.memory import peak_memory_bytes, reset_peak_memory
from acdc_cli.sparsity import prunable_weights
from acdc_cli.sparsity.topk import keep_largest

SPARSITY = 0.9


def resnet50_weights(device: torch.device) -> list[Tensor]:
    """Return the 25,502,912 convolution and linear weights of ResNet50, freshly initialised."""
    torch.manual_seed(0)
    return [weight.detach().to(device) for weight in prunable_weights(resnet50()).values()]


def transformer_weights(device: torch.device) -> list[Tensor]:
    """Return 285M weights, the number of Transformer-XL large, in matrices of that network's width."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4096, 1024, generator=generator).mul_(0.02).to(device) for _ in range(68)]


NETWORKS = {"ResNet50": resnet50_weights, "285M": transformer_weights}


def by_topk(weights: list[Tensor], removed: int) -> list[Tensor]:
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    threshold = torch.topk(magnitudes, len(magnitudes) - removed).values[-1]
    return [weight.abs() >= threshold for weight in weights]


def by_kthvalue(weights: list[Tensor], removed: int) -> list[Tensor]:
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
    threshold = torch.kthvalue(magnitudes, removed).values
    return [weight.abs() > threshold for weight in weights]


WAYS: dict[str, Callable[[list[Tensor], int], list[Tensor]]] = {
    "torch.topk": by_topk,
    "torch.kthvalue": by_kthvalue,
    "keep_largest": keep_largest,
}


def seconds(way: str, weights: list[Tensor], removed: int) -> float:
    if weights[0].is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    WAYS[way](weights, removed)
    if weights[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def extra_memory(network: str, way: str, device: torch.device) -> float:
    """Return the peak memory of one selection, without the weights, as a fraction of the weights' bytes.

    The memory is measured in a new process.
    """
    command = [sys.executable, __file__, "--device", str(device), "--memory-of", network, way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_extra_memory(network: str, way: str, device: torch.device) -> None:
    weights = NETWORKS[network](device)
    keep_largest([torch.randn(100, device=device)], 50)  # the first call allocates memory that later calls share
    total = sum(weight.numel() for weight in weights)
    reset_peak_memory(device)
    before = peak_memory_bytes(device)
    WAYS[way](weights, round(SPARSITY * total))
    print((peak_memory_bytes(device) - before) / (4 * total))


def measure(network: str, rounds: int, device: torch.device) -> list[dict[str, object]]:
    weights = NETWORKS[network](device)
    total = sum(weight.numel() for weight in weights)
    removed = round(SPARSITY * total)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for round_number in range(rounds + 1):
        for way in WAYS:
            spent = seconds(way, weights, removed)
            if round_number:  # the first round warms up
                times[way].append(spent)
    ours = statistics.median(times["keep_largest"])
    kept = [sum(int(mask.count_nonzero()) for mask in WAYS[way](weights, removed)) for way in WAYS]
    return [
        {
            "network": network,
            "weights": total,
            "way": way,
            "milliseconds": round(1000 * statistics.median(spent), 1),
            "fastest_milliseconds": round(1000 * min(spent), 1),
            "times_keep_largest": round(statistics.median(spent) / ours, 2),
            "extra_memory_over_weights": round(extra_memory(network, way, device), 2),
            "kept": count,
        }
        for (way, spent), count in zip(times.items(), kept, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", nargs=2, metavar=("NETWORK", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.memory_of:
        network, way = options.memory_of
        print_extra_memory(network, way, device)
        return
    rows = [row for network in NETWORKS for row in measure(network, options.rounds, device)]
    where = device.type if device.type != "cpu" else f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    table = Table(title=f"Masks of the largest 10% by magnitude, {where}", title_justify="left")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(width=150).print(table)
    print(keep("selection", device, rows))


if __name__ == "__main__":
    main()
