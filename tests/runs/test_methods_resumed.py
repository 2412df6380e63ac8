"""Every method stopped inside epochs, between any two steps, and repeated: the bits of a run that nobody disturbed.

What a kill leaves is the last checkpoint, and here one is written after every step; that none is ever torn, and that a
process can be killed at any moment, is tested in test_resume.py.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.every_method import prunes_trained
from helpers.training import equal_bits, model_state, position, train, without_times

from acdc_cli.errors import Interrupted
from acdc_cli.parts import METHODS
from acdc_cli.records.folder import run_folders
from acdc_cli.training import records

STEPS = 6
SMALL = ["model.width=4", "epochs=3", "batch_size=240", "precision=fp32", "sparsity=0.75"]
# Masks move at every second or third step, so that stops fall right before and right after a move.
TYPED = {
    "gmp": ["method.interval_steps=2"],
    "rigl": ["method.interval_steps=2"],
    "set": ["method.interval_steps=3"],
    "top_kast": ["method.interval_steps=2"],
    "str": ["method.s_init=-4", "method.s_weight_decay=0.1"],
    "sparse_vd": ["method.kl_weight=1", "method.initial_log_sigma2=-6"],
    "woodfisher": ["method.fisher_samples=20", "method.fisher_batch=4", "method.fisher_block=20"],
}
# Saves after which it is stopped, counted over all its lives; a step later the loop acts on it.
STOPS = (1, 4, 9, 15)


IN_SHORT = ("acdc", "rigl", "woodfisher")  # the others are stopped in `make test-all`


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=() if name in IN_SHORT else pytest.mark.exhaustive) for name in METHODS.names()],
)
def test_stopped_inside_epochs(method: str, tmp_path: Path, data_dir: Path, monkeypatch: Any) -> None:
    typed = [*SMALL, f"method={method}", *TYPED.get(method, [])]
    if prunes_trained(method):
        dense = train(tmp_path / "dense", data_dir, *SMALL, "method=dense")
        typed.append(f"start_from={dense.path}")
    undisturbed = train(tmp_path / "undisturbed", data_dir, *typed)
    save, saves, places = records.save_checkpoint, 0, []

    def save_and_signal(*arguments: Any) -> None:
        nonlocal saves
        save(*arguments)
        saves += 1
        if saves in STOPS:
            signal.raise_signal(signal.SIGUSR2)

    monkeypatch.setattr(records, "save_checkpoint", save_and_signal)
    broken = tmp_path / "broken"
    for _ in STOPS:
        with pytest.raises(Interrupted):
            train(broken, data_dir, *typed, "checkpoint.every_minutes=0")
        places.append(position(broken))
    train(broken, data_dir, *typed, "checkpoint.every_minutes=0")
    assert len([step for _, step in places if step]) >= 3 and len({epoch for epoch, _ in places}) >= 2, places
    (run,) = run_folders(broken)
    assert run.path.name == undisturbed.path.name
    kind = "dense" if method == "dense" else "sparse"
    assert equal_bits(model_state(run, kind), model_state(undisturbed, kind))
    assert method == "dense" or equal_bits(model_state(run, "masks"), model_state(undisturbed, "masks"))
    assert without_times(run) == without_times(undisturbed)
