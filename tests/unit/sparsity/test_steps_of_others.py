"""Steps that are done otherwise than by a plain ``optimizer.step()`` after a plain backward pass: the same bits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from helpers.small_runs import EPOCHS, METHODS, STEPS, assert_same, backward, new_run, small_net, train_step
from torch import Tensor

from acdc_cli.sparsity.steps import unless_skipped


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_is_given_a_closure_is_the_plain_one(name: str, by_name: bool) -> None:
    """As Lightning does it: there are no gradients before the closure has been called, inside the step."""
    plain, closed = new_run(name), new_run(name)
    for index in range(STEPS * EPOCHS):
        for _, _, method in (plain, closed) if index % STEPS == 0 else ():
            method.begin_epoch(index // STEPS)
        train_step(*plain[:2], index)
        loss = partial(backward, *closed[:2], index)
        closed[1].step(closure=loss) if by_name else closed[1].step(loss)
        assert_same(closed[0].state_dict(), plain[0].state_dict())
    assert_same(closed[2].outputs()["sparse"], plain[2].outputs()["sparse"])


READS_GRADIENTS = ("rigl", "snip", "top_kast", "str", "sparse_vd")


@pytest.mark.parametrize("name", METHODS)
def test_a_closure_that_is_called_twice_a_step_is_refused_where_it_cannot_be_followed(name: str) -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure: Callable[[], Tensor]) -> None:
            closure()
            super().step(closure)

    model = small_net()
    optimizer = Twice(model.parameters(), lr=0.1)
    METHODS[name]().attach(model, optimizer).begin_epoch(0)
    for index in range(2):
        with pytest.raises(RuntimeError, match="calls its closure twice") if name in READS_GRADIENTS else nullcontext():
            optimizer.step(partial(backward, model, optimizer, index))


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_computes_is_not_cast_by_autocast(name: str) -> None:
    """A step, and the beginning of an epoch, inside somebody's bfloat16 region; the network's own passes outside."""
    plain, inside = new_run(name), new_run(name)
    for index in range(STEPS * EPOCHS):
        for (model, optimizer, method), is_cast in ((plain, False), (inside, True)):
            if index % STEPS == 0:
                with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
                    method.begin_epoch(index // STEPS)
            backward(model, optimizer, index)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_cast):
                optimizer.step()
        assert_same(inside[0].state_dict(), plain[0].state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(inside[2].outputs()["sparse"], plain[2].outputs()["sparse"])


@pytest.mark.parametrize(("found_inf", "acts"), [(None, True), (torch.tensor(0.0), True), (torch.tensor(1.0), False)])
def test_a_step_that_a_scaler_has_a_fused_optimizer_skip_is_none(found_inf: Tensor | None, acts: bool) -> None:
    """A scaler sets ``found_inf`` on an optimizer that skips by itself, and calls its step all the same."""
    acted: list[bool] = []
    optimizer = torch.optim.SGD(small_net().parameters(), lr=0.1, fused=True)
    optimizer.register_step_post_hook(unless_skipped(lambda: acted.append(True)))
    if found_inf is not None:
        optimizer.found_inf = found_inf
    optimizer.step()
    assert bool(acted) == acts
