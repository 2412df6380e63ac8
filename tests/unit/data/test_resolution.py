"""The resolution of every epoch: ffcv-imagenet's published ramps by hand, and the keys that say it."""

from __future__ import annotations

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import identity
from acdc_cli.data.resolution import enlarged, training_resolution, view_of
from acdc_cli.errors import BadInput
from acdc_cli.planning.plan import plan

# libffcv/ffcv-imagenet, rn50_configs: epochs -> (start_ramp, end_ramp); 160 to 192 pixels in multiples of 32. The ramp
# crosses 176 = 5.5 * 32 in its middle, and exactly there a half goes to the even multiple, 6 * 32: by hand, the first
# epoch at 192 is the first one at or past the middle.
RN50 = {
    16: (11, 13, 12),
    24: (17, 20, 19),
    32: (23, 27, 25),
    40: (29, 34, 32),
    56: (41, 48, 45),
    88: (65, 76, 71),
}


@pytest.mark.parametrize("epochs", RN50)
def test_the_published_ramps(epochs: int) -> None:
    start, end, first_large = RN50[epochs]
    found = [training_resolution(epoch, epochs, 160, 192, start / epochs, end / epochs, 32) for epoch in range(epochs)]
    assert found == [160] * first_large + [192] * (epochs - first_large)


def test_a_fine_ramp_by_hand() -> None:
    """10 epochs, 128 to 224 over [0.2, 0.8], multiples of 16: 128 + 16 (epoch - 2)."""
    found = [training_resolution(epoch, 10, 128, 224, 0.2, 0.8, 16) for epoch in range(10)]
    assert found == [128, 128, 128, 144, 160, 176, 192, 208, 224, 224]


def test_a_ramp_downwards_and_ends_that_are_no_multiples() -> None:
    """30 to 100 in multiples of 32: never outside its ends, which are not rounded. 80 is 2.5 * 32: to the even one."""
    found = [training_resolution(epoch, 8, 30, 100, 0.0, 0.875, 32) for epoch in range(8)]
    assert found == [30, 32, 64, 64, 64, 64, 96, 100]  # from 40, 50, 60, 70, 80, 90
    down = [training_resolution(epoch, 8, 100, 30, 0.0, 0.875, 32) for epoch in range(8)]
    assert down == [100, 96, 64, 64, 64, 64, 32, 30]


def test_a_jump_where_the_ramp_has_no_length() -> None:
    assert [training_resolution(epoch, 4, 64, 96, 0.5, 0.5, 32) for epoch in range(4)] == [64, 64, 64, 96]


PROGRESSIVE = [
    "dataset=patches",
    "dataset.train_resolution_start=32",
    "dataset.train_resolution_end=64",
    "dataset.ramp_start=0.25",
    "dataset.ramp_end=0.75",
    "dataset.resolution_multiple=16",
]


def test_epochs_and_validation_have_views_of_their_own() -> None:
    """The ramp passes 40, 48 and 56: a half goes to the even multiple of 16."""
    config = compose_config([*PROGRESSIVE, "epochs=8", "dataset.resolution=72"])
    assert [view_of(config, epoch, 64).resolution for epoch in range(8)] == [32, 32, 32, 32, 48, 64, 64, 64]
    assert [view_of(config, epoch, 64).epoch for epoch in (0, 5)] == [0, 5]
    assert (view_of(config, None, 64).resolution, view_of(config, None, 64).epoch) == (72, None)
    constant = compose_config(["dataset=patches", "epochs=8", "dataset.resolution=48"])
    assert {view_of(constant, epoch, 64).resolution for epoch in (None, *range(8))} == {48}
    digits = compose_config([])
    assert {view_of(digits, epoch, 8).resolution for epoch in (None, *range(8))} == {8}


def test_sets_of_arrays_keep_their_ids() -> None:
    """Null keys enter no id."""
    assert set(identity(compose_config([]))["dataset"]) == {"name", "crop_padding", "flip"}
    assert "os_cache" not in identity(compose_config(["os_cache=false"]))


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["dataset.resolution=16"], ["dataset.resolution=16", "dataset=digits", "dataset.resolution=null"]),
        (["dataset=cifar10", "dataset.ramp_end=0.5"], ["dataset.ramp_end=0.5", "dataset=cifar10"]),
        (["dataset=patches", "dataset.resolution=null"], ["dataset.resolution=null", "dataset.resolution=224"]),
        (["dataset=patches", "dataset.crop_scale_min=null"], ["dataset.crop_scale_min=null"]),
        (["dataset=patches", "dataset.resize_ratio=1.5"], ["dataset.resize_ratio=1.5", "dataset.resize_ratio=1"]),
        (["dataset=patches", "dataset.ramp_end=0.5"], ["dataset.ramp_end=0.5", "dataset.train_resolution_start"]),
        (["dataset=patches", "dataset.train_resolution_end=64"], ["dataset.train_resolution_start=64"]),
        (
            ["dataset=patches", "dataset.train_resolution_start=32", "dataset.train_resolution_end=64"],
            ["dataset.ramp_start=null", "dataset.ramp_start=0.74"],
        ),
        ([*PROGRESSIVE, "dataset.ramp_start=0.9"], ["dataset.ramp_start=0.9", "dataset.ramp_start=0.75"]),
        ([*PROGRESSIVE, "dataset.resolution_multiple=null"], ["dataset.resolution_multiple=null"]),
        (["dataset=patches", "loader=device"], ["loader=device", "loader=ffcv", "loader=torch"]),
    ],
)
def test_keys_that_contradict_each_other_are_refused(typed: list[str], parts: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        compose_config(typed)
    assert [part for part in parts if part not in str(refused.value)] == []
    assert "\n" not in str(refused.value)


def test_the_plan_charges_every_epoch_at_its_resolution() -> None:
    """4 epochs D S D S at 32, 32, 64, 64 pixels (ramp [0.25, 0.5]): each weighs as its own dense forward pass."""
    typed = [
        *PROGRESSIVE,
        "model=resnet8",
        "epochs=4",
        "sparsity=uniform",
        "dataset.ramp_end=0.5",
        "schedule.warmup_epochs=1",
        "schedule.sparse_epochs=1",
        "schedule.dense_epochs=1",
        "schedule.final_sparse_epochs=1",
    ]
    dense, fraction = {}, {}
    for pixels in (32, 64):
        constant = plan(compose_config([*typed[6:9], "dataset=patches", f"dataset.resolution={pixels}"]))
        dense[pixels], fraction[pixels] = constant["dense_inference_flops"], constant["inference_flops_fraction"]
    spent = dense[32] * (1 + fraction[32]) + dense[64] * (1 + fraction[64])
    found = plan(compose_config(typed))
    assert [phase[0] for phase in found["timeline"]] == ["dense", "sparse", "dense", "sparse"]
    assert found["train_flops_fraction"] == pytest.approx(spent / (2 * dense[32] + 2 * dense[64]), rel=1e-12)


@pytest.mark.parametrize(
    ("typed", "longest", "parts"),
    [
        (
            ["dataset.resolution=96"],
            64,
            ["dataset.resolution=96", "at most 64 pixels", "nearest: dataset.resolution=64"],
        ),
        (["dataset.resolution=64"], 64, None),
        (["dataset.resolution=96"], None, None),  # stored as they came
        ([*PROGRESSIVE[1:], "dataset.train_resolution_end=80"], 72, ["dataset.train_resolution_end=80", "--max-resol"]),
    ],
)
def test_images_that_are_stored_smaller_than_asked_for_are_named(
    typed: list[str], longest: int | None, parts: list[str] | None
) -> None:
    line = enlarged(compose_config(["dataset=patches", *typed]), longest)
    assert (line is None) == (parts is None)
    assert [part for part in parts or [] if part not in str(line)] == []
