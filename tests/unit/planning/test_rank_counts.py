"""What a number of ranks makes of a config: what has to divide, and what the ranks of a machine share."""

from __future__ import annotations

import os

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_id
from acdc_cli.errors import BadInput
from acdc_cli.planning.settle import check_ranks, settle
from acdc_cli.ranks import ONE_RANK, Ranks

TWO = Ranks(rank=1, count=2, local_rank=1, local_count=2)
ON_CPU = ["device=cpu", "loader=torch"]


@pytest.mark.parametrize(
    ("typed", "ranks", "nearest"),
    [
        (["batch_size=63"], 2, 64),
        (["batch_size=65"], 4, 64),
        (["batch_size=1"], 2, 2),
        (["batch_size=64", "accumulation=3"], 1, 63),
        (["batch_size=64", "accumulation=3"], 2, 66),
    ],
)
def test_a_batch_that_cannot_be_dealt_out_evenly_names_the_nearest(typed: list[str], ranks: int, nearest: int) -> None:
    with pytest.raises(BadInput) as refused:
        check_ranks(compose_config(typed), Ranks(0, ranks, 0, ranks))
    assert refused.value.exit_code == 2
    said = str(refused.value)
    assert said.startswith(f"{typed[0]}: ") and said.endswith(f"nearest: batch_size={nearest}") and "\n" not in said


def test_what_divides_is_taken() -> None:
    check_ranks(compose_config(["batch_size=64", "accumulation=4"]), Ranks(0, 16, 0, 8))
    check_ranks(compose_config(["batch_size=63"]), ONE_RANK)


def test_quasi_random_order_is_for_one_rank() -> None:
    config = compose_config(["shuffle_window=512"])
    check_ranks(config, ONE_RANK)
    with pytest.raises(BadInput, match=r"^shuffle_window=512: .*shuffle_window=null$"):
        check_ranks(config, TWO)


@pytest.mark.parametrize("ranks", [ONE_RANK, TWO], ids=["one rank", "two ranks"])
def test_more_workers_than_a_ranks_cores_are_clamped_and_said(ranks: Ranks) -> None:
    cores = len(os.sched_getaffinity(0))
    own = max(1, cores // ranks.local_count)
    said: list[str] = []
    settled = settle(compose_config([*ON_CPU, f"workers={cores + 1}"]), said.append, ranks)
    assert settled.workers == own
    (line,) = said
    assert f"workers={cores + 1}" in line and f"workers={own}" in line and ("ranks" in line) == (ranks is TWO)
    said.clear()
    assert settle(compose_config([*ON_CPU, f"workers={own}"]), said.append, ranks).workers == own
    assert said == []


def test_the_id_does_not_depend_on_the_number_of_ranks() -> None:
    """Nor on what a machine's cores make of ``workers``: the same command goes on with another number of either."""
    config = compose_config([*ON_CPU, "workers=1000"])
    one, two = (settle(config, lambda line: None, ranks) for ranks in (ONE_RANK, TWO))
    assert run_id(one) == run_id(two)
