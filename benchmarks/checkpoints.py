"""Measure the cost of a checkpoint: its size, the seconds to write it to disk, and the seconds to load it.

    python benchmarks/checkpoints.py [--rounds 5] [KEY=VALUE ...]

The run trains ResNet50 with 1000 classes by SGD with momentum, and is in AC/DC's last sparse phase, so its checkpoint
holds weights, momentum, masks and the dense model. KEY=VALUE are overrides of acdc-train.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import keep
from rich.console import Console
from rich.table import Table

from acdc_cli.config.compose import compose_config
from acdc_cli.data.dataset import Dataset
from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.planning.settle import settle
from acdc_cli.training.build import build_run
from acdc_cli.training.checkpoint import load_checkpoint, save_checkpoint
from acdc_cli.training.run import Run

CLASSES = 1000


def run_in_its_last_phase(folder: Path, more: list[str]) -> Run:
    """Return a run after one step, so that it has momentum, masks and the dense model."""
    overrides = ["model=resnet50", "dataset=patches", "epochs=4", f"data_dir={folder / 'data'}", "loader=torch", *more]
    config = settle(compose_config(overrides), print)
    photographs = open_dataset(config.dataset.name, config.data_dir)
    run = build_run(config, Dataset(photographs.folder, photographs.info | {"classes": CLASSES}))
    for epoch in range(4):
        run.method.begin_epoch(epoch)
    for parameter in run.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.optimizer.step()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        run = run_in_its_last_phase(Path(folder), more)
        path = Path(folder) / "last.pt"
        written, read = [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            save_checkpoint(path, {"run_id": "benchmark", "run": run.state_dict()})
            written.append(time.perf_counter() - start)
            start = time.perf_counter()
            run.load_state_dict(load_checkpoint(path, "benchmark")["run"])
            read.append(time.perf_counter() - start)
        row = {
            "model": run.config.model.name,
            "megabytes": round(path.stat().st_size / 1e6),
            "seconds_to_write": round(statistics.median(written), 2),
            "slowest_write": round(max(written), 2),
            "seconds_to_read": round(statistics.median(read), 2),
            "slowest_read": round(max(read), 2),
        }
    table = Table()
    for column in row:
        table.add_column(column.replace("_", " "), justify="right")
    table.add_row(*map(str, row.values()))
    Console().print(table)
    print(keep("checkpoints", run.device, [row]))


if __name__ == "__main__":
    main()
