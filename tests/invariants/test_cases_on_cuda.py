"""Some of the pairwise cases on a GPU, where fused and foreach code, autocast and the scaler are other ones."""

from __future__ import annotations

import pytest
import torch
from case_run import run_case
from invariant_cases import Case
from pairwise import pairwise_suite

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


@pytest.mark.parametrize("case", [case for case in pairwise_suite() if case.ranks == 1], ids=str)
def test_on_one_gpu(case: Case) -> None:
    run_case(case, device="cuda")
