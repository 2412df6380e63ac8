"""With batch norm each rank has statistics of its own samples: other bits, but the same masks and skill."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
import torch
from helpers.training import model_state, train
from torchrun_job import DIGITS, finished, only_run

pytestmark = pytest.mark.exhaustive

SEEDS = 3
VALIDATION = 360
BITS = torch.arange(8, dtype=torch.uint8)


def test_two_ranks_are_as_good_as_one_process(undisturbed: Path, data_dir: Path, tmp_path: Path) -> None:
    """One run against the mean of three: within two standard errors.

    A seed's deviation is the larger one of that observed and that of drawing so many validation images.
    """
    two = only_run(undisturbed).read_result()
    ones = [train(tmp_path, data_dir, *DIGITS, f"seed={seed}").read_result() for seed in range(SEEDS)]
    for kind in ("sparse", "dense"):
        accuracies = [result[kind]["val_top1"] for result in ones]
        mean = statistics.mean(accuracies)
        drawn = math.sqrt(mean * (1 - mean) / VALIDATION)
        deviation = max(drawn, statistics.stdev(accuracies))
        found = two[kind]["val_top1"]
        assert mean > 0.9
        assert abs(found - mean) <= 2 * deviation * math.sqrt(1 + 1 / SEEDS), (kind, found, accuracies)


def test_the_sparse_model_is_the_masks(undisturbed: Path) -> None:
    """A target of 0.9 over all layers: round(0.9 n) zeros, where the masks on record have theirs."""
    run = only_run(undisturbed)
    result, masks = run.read_result(), model_state(run, "masks")
    assert result["prunable_weights"] - result["nonzero_weights"] == round(0.9 * result["prunable_weights"])
    kept = sum(int(packed[:, None].bitwise_right_shift(BITS).bitwise_and(1).sum()) for packed in masks.values())
    assert kept == result["prunable_weights"] - round(0.9 * result["prunable_weights"])


def test_a_rank_whose_weights_have_changed_ends_the_run_at_the_next_mask(data_dir: Path, tmp_path: Path) -> None:
    """The check that is behind "equal masks on both ranks" in every other run here."""
    program = Path(__file__).with_name("drifting_rank.py")
    ended = finished(*DIGITS, f"data_dir={data_dir}", f"runs_dir={tmp_path}", program=program)
    assert ended.code != 0
    assert "the masks of ranks [1] differ from those of rank 0" in ended.errors
    status = only_run(tmp_path).read_status()
    assert status["state"] == "failed" and status["epoch"] == 1 and "ranks [1] differ" in status["error"]
