"""Gradual magnitude pruning every so many epochs: the same recipe at any batch size and length."""

from __future__ import annotations

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schedule import timeline_of
from acdc_cli.errors import BadInput
from acdc_cli.planning.method_setting import method_setting, no_passes


@pytest.mark.parametrize(("batch_size", "steps"), [(256, 25025), (1024, 6260)])
def test_an_interval_in_epochs_does_not_depend_on_the_batch_size(batch_size: int, steps: int) -> None:
    """ImageNet's 1,281,167 images are 5005 batches of 256 or 1252 of 1024. Of 100 epochs, pruning is from 1 to 36."""
    config = compose_config(["experiment=resnet50_gmp", "sparsity=0.9", f"batch_size={batch_size}"])
    per_epoch = steps // 5
    window = config.method.options.window(method_setting(config, per_epoch * batch_size, no_passes))
    due = [step / per_epoch for step in range(100 * per_epoch) if window.is_due(step)]
    assert window.interval == steps and due == [1, 6, 11, 16, 21, 26, 31, 36]
    assert [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline_of(config).phases] == [
        ["dense", 0, 35], ["sparse", 35, 100],
    ]  # fmt: skip


def test_the_last_pruning_of_a_shorter_run_is_the_last_one_due() -> None:
    """Of 50 epochs: from 0.5 to 18 every 5th, so 0.5, 5.5, 10.5, 15.5: sparse from the epoch that ends after it, 15."""
    config = compose_config(["experiment=resnet50_gmp", "sparsity=0.9", "epochs=50"])
    assert timeline_of(config).phases[-1].start_epoch == 15


def test_an_interval_is_said_once() -> None:
    with pytest.raises(BadInput, match=r"method\.interval_epochs=5: beside method\.interval_steps=100"):
        compose_config(["method=gmp", "method.interval_epochs=5"])
    with pytest.raises(BadInput, match=r"method\.interval_steps=null: method=gmp needs a value"):
        compose_config(["method=gmp", "method.interval_steps=null"])
