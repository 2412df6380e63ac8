"""Which bytes are asked for ahead: whole pages of 4096, in the order of the file, each once."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from acdc_cli.data.loading.read_ahead import _stretches

pytestmark = pytest.mark.skipif(mmap.PAGESIZE != 4096, reason="written out for pages of 4096 bytes")

CASES = {
    "nothing": ([], []),
    "one part, from the start of its page": ([(5000, 10)], [(4096, 914)]),
    "one at the very start": ([(0, 100)], [(0, 100)]),
    "several on one page": ([(5000, 10), (6000, 20), (4096, 1)], [(4096, 1924)]),
    "two that touch": ([(0, 5000), (5000, 100)], [(0, 5100)]),
    "two pages apart, backwards": ([(12288, 7), (0, 100)], [(0, 100), (12288, 7)]),
    "one inside another": ([(0, 20000), (5000, 10)], [(0, 20000)]),
    "two stretches of two": ([(40960, 4096), (0, 4096), (45056, 5), (4096, 5)], [(0, 4101), (40960, 4101)]),
}


@pytest.mark.parametrize("case", CASES)
def test_stretches(case: str) -> None:
    parts, expected = CASES[case]
    starts, sizes = np.array(parts, np.int64).reshape(-1, 2).T
    assert list(_stretches(starts, sizes)) == expected
