"""The controls of the pairwise suite: where an invariant is broken on purpose, its check fails."""

from __future__ import annotations

import pytest
from case_run import CaseRun
from invariant_cases import AXES, Case


@pytest.mark.parametrize("optimizer", AXES["optimizer"])
def test_moments_that_are_kept(optimizer: str) -> None:
    run = CaseRun(Case(optimizer, "fp32", "foreach", 1, False, False, 1), reset_moments=False)
    with pytest.raises(AssertionError, match=r"not where a fresh step leads: .*epoch 2, step 0"):
        run.run()


@pytest.mark.parametrize("optimizer", AXES["optimizer"])
def test_hooks_that_are_gone(optimizer: str) -> None:
    run = CaseRun(Case(optimizer, "fp32", "foreach", 1, False, False, 1))
    for hook in run.method._covered.hooks:  # detach() would refuse to go on
        hook.remove()
    with pytest.raises(AssertionError, match=r"not masked: .*epoch 1, step 0"):
        run.run()


@pytest.mark.parametrize("optimizer", AXES["optimizer"])
def test_masked_gradients_alone_are_not_enough(optimizer: str) -> None:
    """Old momentum and weight decay move what has no gradient; the hook on the optimizer is what stops them."""
    run = CaseRun(Case(optimizer, "fp32", "foreach", 1, False, False, 1))
    run.optimizer._optimizer_step_post_hooks.clear()
    with pytest.raises(AssertionError, match=r"weight outside the mask moved: .*epoch 1, step 0"):
        run.run()
