"""Measure the memory and the time of WoodFisher on ResNet50's weights, for several block sizes.

    python benchmarks/woodfisher.py [--blocks 16,50] [--gradients 16] [--passes 2] [--images 8] [--threads N]

A Woodbury step updates the inverses of all blocks by one gradient; as in a run, 16 gradients are taken together. The
gradients are real ones of torchvision's ResNet50 with 1000 classes on images of noise with 160 pixels, rescaled to a
common size. After that, the pruning statistic and the update at 90% sparsity are timed. If the inverses of a block size
do not fit into memory, the results have the memory that they need.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from machine import keep
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.models import resnet50

from acdc_cli.measure.memory import peak_memory_bytes, reset_peak_memory
from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.fisher import (
    block_shape,
    in_blocks,
    inverse_bytes,
    is_singular,
    joint_update,
    pruning_statistic,
    scaled_identity,
    summed_update,
    woodbury_,
)
from acdc_cli.sparsity.fisher_estimate import TOGETHER
from acdc_cli.sparsity.fisher_memory import gibibytes, require_memory
from acdc_cli.sparsity.fisher_sample import sample_gradients
from acdc_cli.sparsity.prunable import prunable_weights
from acdc_cli.sparsity.select import magnitude_masks

DAMPING, SPARSITY, PIXELS = 1e-5, 0.9, 160
GRADIENT = 1e-3


def timed(device: torch.device, action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that an action takes, and its result.

    On a CPU this is processor time over all threads, because other programs may be busy there.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    result = action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start, result


def gradients_of(model: nn.Module, device: torch.device, count: int, images: int) -> tuple[float, list[dict]]:
    """Return the seconds of one pass, and ``count`` gradients, each the mean over ``images`` images.

    Gradients are scaled to a root mean square of GRADIENT, because those of an untrained network are so large that
    blocks become singular.
    """

    def passes(inner: nn.Module) -> Iterator[None]:
        for _ in range(count):
            noise, labels = torch.randn(images, 3, PIXELS, PIXELS), torch.randint(1000, (images,))
            F.cross_entropy(inner(noise.to(device)), labels.to(device)).backward()
            yield

    seconds, found = timed(device, lambda: list(sample_gradients(model, prunable_weights(model), passes, count)))
    for gradient in (gradient for each in found for gradient in each.values()):
        gradient *= GRADIENT / gradient.square().mean().sqrt().clamp_min(1e-30)
    return seconds / count, found


def measure(model: nn.Module, sample: list[dict], block: int, gradients: int, device: torch.device) -> dict[str, Any]:
    """Measure the parts of one pruning. The few real gradients are used in turn, each time with a different scale."""
    weights = prunable_weights(model)
    counts = [weight.numel() for weight in weights.values()]
    row: dict[str, Any] = {"block": block, "inverses": gibibytes(inverse_bytes(counts, block))}
    try:
        require_memory(list(weights.values()), counts, block)
    except MemoryError as error:
        return row | {"refused": str(error)}
    reset_peak_memory(device)
    lambdas = {
        name: torch.full(block_shape(w.numel(), block)[:1], DAMPING, device=device) for name, w in weights.items()
    }
    inverses = {
        name: scaled_identity(each, block_shape(weights[name].numel(), block)[1]) for name, each in lambdas.items()
    }

    def woodbury() -> None:
        for first in range(0, gradients, TOGETHER):
            scaled = range(first, min(first + TOGETHER, gradients))
            for name, inverse in inverses.items():
                taken = [in_blocks(sample[index % len(sample)][name], block) * (1 + index / 100) for index in scaled]
                woodbury_(inverse, torch.stack(taken), gradients)

    blocks = {name: in_blocks(weight, block) for name, weight in weights.items()}
    seconds, _ = timed(device, woodbury)
    checking, singular = timed(device, lambda: sum(int(is_singular(inverses[n], lambdas[n]).sum()) for n in inverses))
    choosing, masks = timed(device, lambda: chosen(weights, blocks, inverses))
    removed = {name: in_blocks(~mask, block) for name, mask in masks.items()}
    summing, _ = timed(device, lambda: [summed_update(blocks[n], inverses[n], removed[n]) for n in inverses])
    joining, _ = timed(device, lambda: [joint_update(blocks[n], inverses[n], removed[n]) for n in inverses])
    return row | {
        "peak_memory": gibibytes(peak_memory_bytes(device)),
        "seconds_a_woodbury_step": round(seconds / gradients, 3),
        "seconds_to_check": round(checking, 2),
        "seconds_to_choose": round(choosing, 2),
        "seconds_of_the_summed_update": round(summing, 2),
        "seconds_of_the_joint_update": round(joining, 2),
        "singular_blocks": singular,
    }


def chosen(
    weights: dict[str, nn.Parameter], blocks: dict[str, Tensor], inverses: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the masks of a global ranking by the pruning statistic."""
    scores = {}
    for name, weight in weights.items():
        statistic = pruning_statistic(blocks[name], inverses[name])
        scores[name] = statistic.reshape(-1)[: weight.numel()].view(weight.shape)
    return magnitude_masks(scores, Allocation.of(SPARSITY))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", default="16,50")
    parser.add_argument("--gradients", type=int, default=TOGETHER)
    parser.add_argument("--passes", type=int, default=2, help="number of real gradients")
    parser.add_argument("--images", type=int, default=8, help="images over which a gradient is averaged")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = resnet50(weights=None).to(device)
    a_pass, sample = gradients_of(model, device, options.passes, options.images)
    rows = [
        {"seconds_a_pass": round(a_pass, 2), "images_a_pass": options.images}
        | measure(model, sample, int(block), options.gradients, device)
        for block in options.blocks.split(",")
    ]
    for row in rows:
        table = Table("", f"block {row['block']}")
        for name, value in row.items():
            table.add_row(name.replace("_", " "), str(value))
        Console().print(table)
    print(keep("woodfisher", device, rows))


if __name__ == "__main__":
    main()
