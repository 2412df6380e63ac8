"""The embedded recipe learns: the whole 40 epochs, at the accuracy that the README promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.training import train


@pytest.mark.slow
@pytest.mark.parametrize(("target", "at_least"), [(0.9, 0.985), pytest.param(0.95, 0.98, marks=pytest.mark.exhaustive)])
def test_digits_reach_the_promised_accuracy(target: float, at_least: float, tmp_path: Path, data_dir: Path) -> None:
    result = train(tmp_path, data_dir, f"sparsity={target}", "epochs=40").read_result()
    assert result["prunable_weights"] - result["nonzero_weights"] == round(target * result["prunable_weights"])
    assert result["sparse"]["val_top1"] >= at_least
    assert result["dense"]["val_top1"] >= at_least
