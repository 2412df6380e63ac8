"""Configs that are composed ahead are those that would be composed when asked for; what goes wrong is said then."""

from __future__ import annotations

import os
import signal

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.tables import composed as module
from acdc_cli.tables.composed import compose_ahead, composed

RECIPES = [("experiment=small_tables", f"sparsity={sparsity}", "batch_size=48") for sparsity in (0.7, 0.8, 0.9)]
WRONG = ("experiment=small_tables", "sparsity=2")


@pytest.fixture(autouse=True)
def _on_two_cores_with_nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    monkeypatch.setattr(module, "_kept", {})


def test_they_are_made_ahead_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [compose_config(list(recipe)) for recipe in RECIPES]
    compose_ahead([*RECIPES, *RECIPES])
    monkeypatch.setattr(module, "compose_config", lambda overrides: pytest.fail(f"{overrides} composed again"))
    assert [composed(recipe) for recipe in RECIPES] == expected
    assert [config.sparsity.target for config in expected] == [0.7, 0.8, 0.9]


def test_what_is_wrong_is_said_when_it_is_asked_for() -> None:
    compose_ahead([WRONG, *RECIPES])
    assert composed(RECIPES[0]).sparsity.target == 0.7
    with pytest.raises(BadInput, match=r"^sparsity.target=2: outside \[0, 1\)"):
        composed(WRONG)


def test_a_process_that_is_killed_costs_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.getpid()

    def killed_elsewhere(overrides: list[str]) -> Config:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return compose_config(overrides)

    monkeypatch.setattr(module, "compose_config", killed_elsewhere)
    compose_ahead(RECIPES)
    assert [composed(recipe).sparsity.target for recipe in RECIPES] == [0.7, 0.8, 0.9]
