"""Print how many output channels each sparse phase of a run empties, and how many weights revived channels take.

    python scripts/revived_channels.py runs/default/NAME

Each column is a sparse phase, named by its first epoch. A cell has the number of empty channels of the layer in this
phase and, in brackets, the percentage of its kept weights that are in channels which were empty in the phase before.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from torch import Tensor

from acdc_cli.config.text import from_yaml
from acdc_cli.errors import AcdcError, BadInput
from acdc_cli.measure.dynamics import dead_channels, revived_share
from acdc_cli.models.build import build_skeleton
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.layout import OUTPUTS_FIRST, Layout
from acdc_cli.sparsity.masks import unpack
from acdc_cli.sparsity.prunable import weight_layouts


def read_masks(path: Path) -> dict[str, Tensor]:
    """Read the masks of a file: weight name -> bool tensor of the weight's shape."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: json.loads(shape) for name, shape in file.metadata().items()}
        return {name: unpack(file.get_tensor(name), tuple(shape)) for name, shape in shapes.items()}


def read_layouts(folder: RunFolder) -> dict[str, Layout]:
    """Return the layouts of the run's weights that are not stored outputs first, by name."""
    config = from_yaml(folder.config.read_text())
    return weight_layouts(build_skeleton(config.model, config.task.options.inputs(config, None)))


def main() -> None:
    """Print the table for the run folder on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    folder = RunFolder.open(parser.parse_args().run)
    phases = {path.stem.removeprefix("epoch_"): read_masks(path) for path in sorted(folder.masks.glob("epoch_*"))}
    if not phases:
        raise BadInput(f"{folder.path}: there are no masks of sparse phases in it; name a run of method=acdc")
    table = Table(box=SIMPLE_HEAD, title=folder.path.name, title_justify="left")
    table.add_column("layer (channels)")
    for first_epoch in phases:
        table.add_column(f"epoch {int(first_epoch)}", justify="right")
    masks = list(phases.values())
    layouts = read_layouts(folder)
    empty = [dead_channels(each, layouts) for each in masks]
    share = [revived_share(before, now, layouts) for before, now in pairwise(masks)]
    for name, mask in sorted(masks[0].items()):
        channels = layouts.get(name, OUTPUTS_FIRST).shape_outputs_first(mask.shape)[0]
        back = ["", *(f" ({each[name]:.0%})" for each in share)]
        cells = [f"{each[name]}{taken}" for each, taken in zip(empty, back, strict=True)]
        table.add_row(f"{name} ({channels})", *cells)
    Console(width=None if sys.stdout.isatty() else 40 + 14 * len(phases)).print(table)


if __name__ == "__main__":
    try:
        main()
    except AcdcError as error:
        print(f"revived_channels: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
