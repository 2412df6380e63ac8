"""A run names the weights that it cannot prune, once, and its record counts the others by kind."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.planning.plan import plan
from acdc_cli.sparsity import UncoveredWeights
from acdc_cli.training.execute import execute

# Its convolutions have gains of their own, (out, 1, 1, 1).
NET = ["model=timm", "model.name=test_nfnet", "dataset=digits", "precision=fp32", "optimizer.lr=0.001"]


@pytest.mark.parametrize("method", ["acdc", "dense"])
def test_uncovered_weights_are_named_once(tmp_path: Path, data_dir: Path, method: str) -> None:
    said: list[str] = []
    base = ["epochs=2", "threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}", f"runs_dir={tmp_path}"]
    config = compose_config([*base, *NET, f"method={method}", "batch_size=256"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UncoveredWeights)
        folder = execute(config, said.append)
    lines = [line for line in said if line.startswith("not pruned")]
    if method == "dense":  # prunes nothing, so nothing is left out
        assert lines == []
    else:
        (line,) = lines
        assert "stem.conv1.gain, stem.conv2.gain, stem.conv3.gain and 22 more (0.7% of" in line
    result, planned = folder.read_result(), plan(config)
    assert result["prunable_by_kind"] == planned["prunable_by_kind"]
    assert sum(result["prunable_by_kind"].values()) == result["prunable_weights"] == planned["prunable_weights"]
    assert len(planned["uncovered"]["names"]) == 25
