"""Masks that differ between ranks are fatal on every rank, at once; and ranks that are gone fail a test."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from case_run import prunable, small_net
from rank_pair import RankError, RankPair
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from acdc_cli.sparsity import ACDC, Static, Timeline


def prune(kind: str, drifted_rank: int | None) -> tuple[str, float]:
    """On a rank: make masks, of weights that have drifted on one of them. Returns the error and the seconds."""
    model = DistributedDataParallel(small_net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with torch.no_grad():
        for weight in prunable(model.module).values():
            weight[0] = 0.0
            if distributed.get_rank() == drifted_rank:
                weight.copy_(weight.flip(0))
    start = time.monotonic()
    try:
        if kind == "static":
            Static().attach(model, optimizer)
        else:
            method = ACDC(Timeline.of([("dense", 0, 1), ("sparse", 1, 2)]), 0.5).attach(model, optimizer)
            method.begin_epoch(1)
    except RuntimeError as error:
        return str(error), time.monotonic() - start
    return "", time.monotonic() - start


def leave(rank: int) -> None:
    """On a rank: die while the other waits for it."""
    if distributed.get_rank() == rank:
        os._exit(1)
    distributed.barrier()


@pytest.mark.parametrize("kind", ["acdc", "static"])
def test_weights_that_have_drifted_apart_end_the_run_on_every_rank(kind: str, two_ranks: RankPair) -> None:
    for error, seconds in two_ranks.run(prune, kind, 1):
        assert "ranks [1] differ from those of rank 0" in error
        assert seconds < 5


@pytest.mark.parametrize("kind", ["acdc", "static"])
def test_weights_that_have_not_go_on(kind: str, two_ranks: RankPair) -> None:
    assert [error for error, _ in two_ranks.run(prune, kind, None)] == ["", ""]


@pytest.mark.exhaustive
def test_ranks_that_are_gone_fail_and_are_replaced(tmp_path: Path) -> None:
    pair = RankPair(tmp_path)
    try:
        assert len(pair.run(prune, "acdc", None)) == 2
        start = time.monotonic()
        with pytest.raises(RankError, match=r"rank [01] died|on rank 0"):
            pair.run(leave, 1, seconds=30)
        assert time.monotonic() - start < 20
        assert len(pair.run(prune, "acdc", None)) == 2
        with pytest.raises(RankError, match="no answer"):
            pair.run(time.sleep, 60, seconds=0.5)
    finally:
        pair.close()
