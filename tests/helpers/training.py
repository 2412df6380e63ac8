"""Runs in this process, as short as they can be and still go through every kind of phase."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from acdc_cli.config.compose import compose_config
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.training.execute import execute

VARYING = {"seconds", "samples_per_second", "peak_memory_bytes"}  # between two runs of one id


def train(tmp_path: Path, data_dir: Path, *overrides: str) -> RunFolder:
    """Compose and execute; D S D S D S at 6 epochs unless told otherwise. One thread: other tests may run beside it.

    The network is ResNet8 of a quarter of its usual width unless a model is named: a test that counts weights asks for
    the usual one by ``model.width=32``.
    """
    base = ["epochs=6", "threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}", f"runs_dir={tmp_path}"]
    if not any(word.startswith(("model", "experiment", "finetune")) for word in overrides):
        base.append("model.width=8")
    return execute(compose_config([*base, *overrides]), lambda line: None)


def model_state(folder: RunFolder, kind: str = "sparse") -> dict[str, Tensor]:
    return load_file(folder.models / f"{kind}.safetensors")


def equal_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def without_times(run: RunFolder) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without what may differ."""
    return [{key: value for key, value in row.items() if key not in VARYING} for row in run.read_metrics()]


def check_same(run: RunFolder, undisturbed: RunFolder) -> None:
    """One run twice: models, masks, rows and results to the last bit."""
    assert run.path.name == undisturbed.path.name and run.is_done
    for kind in ("sparse", "dense", "masks"):
        assert equal_bits(model_state(run, kind), model_state(undisturbed, kind))
    assert without_times(run) == without_times(undisturbed)
    for kind in ("sparse", "dense", "agreement"):
        assert run.read_result()[kind] == undisturbed.read_result()[kind]


def position(runs: Path) -> tuple[int, int | None]:
    """What the one run's checkpoint has behind it: epochs, and steps of the next one; None: it is between two."""
    for run in run_folders(runs):
        if run.checkpoint.is_file():
            return _position(run.checkpoint, run.checkpoint.stat().st_mtime_ns)
    return 0, None


@lru_cache(maxsize=1)
def _position(checkpoint: Path, written_ns: int) -> tuple[int, int | None]:
    """Read once each time it is written: whoever waits looks every few milliseconds."""
    state = torch.load(checkpoint, weights_only=True)["run"]
    return len(state["rows"]), None if state["part"] is None else state["part"]["step"]
