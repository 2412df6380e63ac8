"""A run's config.yaml as overrides: composing them is the same run, by its id."""

from __future__ import annotations

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import identity
from acdc_cli.config.retyped import as_overrides
from acdc_cli.config.text import from_yaml, to_yaml
from acdc_cli.planning.settle import settle

TYPED = [
    ["sparsity=0.9"],
    ["sparsity=2:4", "epochs=20"],
    ["method=sparse_vd", "method.kl_weight=0.1"],
    ["method=dense", "seed=3"],
    ["model=resnet20", "epochs=50"],  # milestones that are scaled
    ["experiment=acdcpp", "epochs=200"],  # phases that are stretched, a rate for other batches
    ["experiment=resnet50_rigl", "epochs=500"],
    ["experiment=cifar100_acdc_14"],  # phases listed in full
    ["experiment=resnet50_first_last_dense"],  # rules
]


@pytest.mark.parametrize("typed", TYPED, ids=" ".join)
def test_a_config_typed_again_is_the_same_run(typed: list[str]) -> None:
    config = settle(compose_config(typed), lambda line: None)
    read = from_yaml(to_yaml(config))
    again = settle(compose_config(as_overrides(read)), lambda line: None)
    assert identity(again) == identity(config)
    assert again.run.experiment == config.run.experiment
