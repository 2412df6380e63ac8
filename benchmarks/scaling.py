"""Measure the training images per second on 1, 2, ... ranks of this machine, and the efficiency of N ranks.

    python benchmarks/scaling.py [--ranks 1 2] [--batch 64] [--rounds 3] [--epochs 3] [KEY=VALUE ...]

Each number comes from a whole AC/DC run on the photographs, `torchrun --nproc-per-node=N acdc-train ...`. Every rank
has the same number of samples per step, and one CPU thread or one GPU. The first epoch of a run is left out, because
the program compiles and warms up in it. Each round has one run for each number of ranks. The efficiency is the median
over the rounds of (images/s of N ranks) / (N times images/s of one rank). KEY=VALUE are overrides of acdc-train.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from machine import keep
from rich.console import Console
from rich.table import Table

BIN = Path(sys.executable).parent
SETTINGS = ["experiment=patches_90", "tracker=none"]


def images_per_second(ranks: int, batch: int, epochs: int, folder: Path, more: list[str]) -> float:
    """Train once, and return the mean images per second over all epochs except the first."""
    runs = folder / "runs"
    overrides = [
        *SETTINGS,
        f"threads={ranks}",
        f"batch_size={batch * ranks}",
        f"epochs={epochs}",
        f"runs_dir={runs}",
        f"data_dir={folder / 'data'}",
        *more,
    ]
    torchrun = [str(BIN / "torchrun"), f"--nproc-per-node={ranks}", str(BIN / "acdc-train"), *overrides]
    ended = subprocess.run(torchrun, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)
    (metrics,) = runs.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()][1:]
    shutil.rmtree(runs)
    return len(rows) / sum(1 / row["samples_per_second"] for row in rows)


def main() -> None:
    cuda = torch.cuda.is_available()
    places = torch.cuda.device_count() if cuda else len(os.sched_getaffinity(0))
    doubling = [2**power for power in range(places.bit_length()) if 2**power <= places]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=doubling)
    parser.add_argument("--batch", type=int, default=64, help="samples per step on each rank")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    options, more = parser.parse_known_args()
    if 1 not in options.ranks:
        parser.error("--ranks: one rank is what the others are compared with; add 1")
    found: dict[int, list[float]] = {ranks: [] for ranks in options.ranks}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for ranks in options.ranks:
                found[ranks].append(images_per_second(ranks, options.batch, options.epochs, Path(folder), more))
    rows = [
        {
            "ranks": ranks,
            "images_per_second": round(statistics.median(rates)),
            "slowest": round(min(rates)),
            "fastest": round(max(rates)),
            "efficiency": round(statistics.median(a / (ranks * b) for a, b in zip(rates, found[1], strict=True)), 2),
        }
        for ranks, rates in found.items()
    ]
    table = Table(title=f"{options.batch} samples a step on each rank", title_justify="left")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" for value in row.values()))
    Console().print(table)
    print(keep("scaling", torch.device("cuda" if cuda else "cpu"), rows))


if __name__ == "__main__":
    main()
