"""dense_run: which recipe the network has that is pruned, who reads it, and what it leaves alone."""

from __future__ import annotations

import pytest

from acdc_cli.config.compose import compose_config, dense_run_of, dense_share
from acdc_cli.config.identity import identity
from acdc_cli.config.schema import Config
from acdc_cli.errors import BadInput
from acdc_cli.tables.jobs import _of_dense_run

RECIPE = 'dense_run=["epochs=80","optimizer.lr=0.3","label_smoothing=0.1"]'


def composed(*typed: str) -> Config:
    return compose_config(["threads=1", *typed])


def test_without_it_the_dense_run_has_the_recipe_of_the_pruning() -> None:
    pruning = composed("method=woodfisher", "epochs=30", "optimizer.lr=0.02", "run.name=mine", "bn_recalibration=true")
    dense = dense_run_of(pruning)
    assert (dense.method.name, dense.epochs, dense.optimizer.lr) == ("dense", 30, 0.02)
    assert (dense.run.name, dense.bn_recalibration) == (None, None)
    assert identity(dense) == identity(composed("method=dense", "epochs=30", "optimizer.lr=0.02"))
    assert dense_share(pruning) == 1


def test_with_it_the_dense_run_has_that_recipe_and_the_same_network_data_and_seed() -> None:
    pruning = composed("method=gmp", RECIPE, "epochs=20", "seed=4", "model.width=16", "dataset.crop_padding=2")
    dense = dense_run_of(pruning)
    assert (dense.method.name, dense.epochs, dense.optimizer.lr, dense.label_smoothing) == ("dense", 80, 0.3, 0.1)
    assert (dense.seed, dense.model.options.width, dense.dataset.options.crop_padding, dense.threads) == (4, 16, 2, 1)
    assert (pruning.epochs, pruning.optimizer.lr, pruning.label_smoothing) == (20, 0.1, 0)
    assert dense_share(pruning) == 4
    assert dense_share(composed("method=gmp")) == 0


def test_a_method_that_prunes_no_dense_run_does_not_read_it() -> None:
    for method in ("acdc", "dense", "rigl"):
        assert identity(composed(f"method={method}", RECIPE)) == identity(composed(f"method={method}"))
    assert identity(composed("method=gmp", RECIPE)) != identity(composed("method=gmp"))


def test_a_recipe_that_cannot_be_is_refused_before_anything_begins() -> None:
    with pytest.raises(BadInput, match=r"^dense_run=.*optimizer\.lrr.*did you mean optimizer\.lr="):
        composed("method=gmp", 'dense_run=["optimizer.lrr=0.3"]')


def test_a_tables_dense_run_is_the_one_that_acdc_train_would_make() -> None:
    pruning = compose_config(["experiment=resnet50_woodfisher", "sparsity=0.9", "threads=1"])
    typed = _of_dense_run(("experiment=resnet50_woodfisher", "sparsity=0.9"), pruning)
    assert typed == ("model=resnet50", "label_smoothing=0.1", "precision=fp32", "method=dense")
    assert identity(compose_config([*typed, "threads=1"])) == identity(dense_run_of(pruning))
