"""scripts/revived_channels.py on a run's masks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from helpers.support import environment
from helpers.training import train
from safetensors.torch import save_file

from acdc_cli.sparsity.masks import pack

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "revived_channels.py"


def script(run: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), str(run)], capture_output=True, text=True, env=environment())


def test_it_counts_empty_channels_by_layer_and_phase(tmp_path: Path, data_dir: Path) -> None:

    run = train(tmp_path, data_dir)  # D S D S D S: masks of epochs 1, 3 and 5
    for path, kept in zip(sorted(run.masks.iterdir()), ([0], [0, 1, 2], [1]), strict=True):
        mask = torch.zeros(4, 2, dtype=torch.bool)
        mask[kept] = True
        save_file({"toy": pack(mask)}, path, {"toy": "[4, 2]"})
    printed = script(run.path)
    (line,) = [line.split() for line in printed.stdout.splitlines() if "toy" in line]
    # 3 channels empty; then 1, and two of the three kept ones were empty before; then 3, and none was.
    assert line == ["toy", "(4)", "3", "1", "(67%)", "3", "(0%)"]


def test_a_run_without_masks_is_refused_in_one_line(tmp_path: Path, data_dir: Path) -> None:
    refused = script(train(tmp_path, data_dir, "epochs=1", "method=dense").path)
    assert refused.returncode == 2 and "no masks" in refused.stderr and refused.stderr.count("\n") == 1
