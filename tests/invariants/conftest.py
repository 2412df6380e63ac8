"""The two processes that every two-rank test of this folder shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rank_pair import RankPair


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankPair]:
    """Started with the first function they run."""
    pair = RankPair(tmp_path_factory.mktemp("ranks"))
    yield pair
    pair.close()
