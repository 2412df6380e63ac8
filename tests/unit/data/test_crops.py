"""Where images are cropped: against FFCV's own functions, by hand, and as a property of the sample alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from acdc_cli.data.loading.crops import FIRST_DRAW, Crops, centre_crops, random_resized_crops, written_size
from acdc_cli.data.order import uniform
from acdc_cli.data.view import View

SIZES = [(375, 500), (500, 375), (500, 500), (64, 48), (20, 600), (600, 20), (1, 1), (2, 3), (1, 900)]


def crops_of(seed: int, epoch: int, samples: np.ndarray, height: int, width: int, scale_min: float) -> np.ndarray:
    full = np.ones(len(samples), np.int64)
    return random_resized_crops(seed, epoch, samples, full * height, full * width, scale_min)


def ffcv_crop(monkeypatch: pytest.MonkeyPatch, seed: int, epoch: int, sample: int) -> Callable:
    """FFCV's ``get_random_crop``, fed with the numbers that ours draws: area, shape, and when it fits, row, column."""
    from ffcv.fields import rgb_image

    drawn: list[int] = []

    def keyed(low: float, high: float) -> float:
        # FFCV draws no place for a crop that does not fit; every attempt of ours has four numbers all the same.
        is_place = low == 0
        if not is_place:
            drawn.append(0 if len(drawn) % 2 == 0 else 1)
        attempt = (len(drawn) - 1) // 2
        draw = (2 + places.pop(0)) if is_place else drawn[-1]
        share = float(uniform(seed, epoch, np.array([sample]), FIRST_DRAW + 4 * attempt + draw)[0])
        return low + (high - low) * share

    places = [0, 1]
    monkeypatch.setattr(rgb_image.np.random, "uniform", keyed)
    return rgb_image.get_random_crop


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_random_crops_are_those_of_ffcv_with_the_same_numbers(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for sample in range(25):
        ours = crops_of(3, 2, np.array([sample]), *size, 0.08)[0]
        theirs = ffcv_crop(monkeypatch, 3, 2, sample)
        expected = theirs(*size, np.array([0.08, 1.0]), np.array([3 / 4, 4 / 3]))
        assert ours.tolist() == [max(0, number) for number in expected]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_crop_lies_inside_the_image(size: tuple[int, int]) -> None:
    height, width = size
    top, left, crop_height, crop_width = crops_of(0, 0, np.arange(2000), *size, 0.08).T
    assert (crop_height >= 1).all() and (crop_width >= 1).all()
    assert (top >= 0).all() and (top + crop_height <= height).all()
    assert (left >= 0).all() and (left + crop_width <= width).all()


def test_shares_and_shapes_are_spread_as_they_should_be() -> None:
    """Of a large square image hardly any attempt fails: the share is uniform in [0.08, 1] cut at what fits."""
    _, _, height, width = crops_of(1, 0, np.arange(20_000), 4000, 4000, 0.08).T
    share, shape = height * width / 4000**2, np.log(width / height)
    small = share < 0.7  # every shape fits these: 0.7 * 4 / 3 < 1
    assert share.min() >= 0.0799 and share.max() <= 1
    assert share[small].mean() == pytest.approx((0.08 + 0.7) / 2, abs=0.01)
    assert abs(shape).max() <= math.log(4 / 3) + 1e-3
    assert shape[small].mean() == pytest.approx(0, abs=0.01)
    assert shape[small].std() == pytest.approx(2 * math.log(4 / 3) / math.sqrt(12), abs=0.01)


def test_a_crop_depends_on_seed_epoch_and_sample_alone() -> None:
    samples = np.arange(500)
    together = crops_of(7, 3, samples, 375, 500, 0.08)
    shuffled = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(crops_of(7, 3, shuffled, 375, 500, 0.08), together[shuffled])
    np.testing.assert_array_equal(crops_of(7, 3, samples[123:124], 375, 500, 0.08)[0], together[123])
    for other in (crops_of(8, 3, samples, 375, 500, 0.08), crops_of(7, 4, samples, 375, 500, 0.08)):
        assert (other != together).any(axis=1).mean() > 0.99


def test_what_never_fits_becomes_the_largest_central_crop_of_an_allowed_shape() -> None:
    """A 20 x 600 image, whole area asked for: 600 wide is out of shape, so 20 x round(20 * 4/3) = 27, in the middle."""
    assert crops_of(0, 0, np.arange(3), 20, 600, 1.0).tolist() == [[0, 286, 20, 27]] * 3
    assert crops_of(0, 0, np.arange(3), 600, 20, 1.0).tolist() == [[286, 0, 27, 20]] * 3


def test_centre_crops_by_hand() -> None:
    """ffcv-imagenet's 224 of 256; an odd rest goes below and to the right."""
    found = centre_crops(np.array([256, 256, 375, 101]), np.array([256, 341, 500, 51]), 224 / 256)
    assert found.tolist() == [[16, 16, 224, 224], [16, 58, 224, 224], [23, 86, 328, 328], [28, 3, 44, 44]]


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_centre_crops_are_those_of_ffcv(size: tuple[int, int]) -> None:
    from ffcv.fields.rgb_image import get_center_crop

    expected = list(get_center_crop(*size, None, 224 / 256))
    if min(size) == 1:
        expected[2:] = [1, 1]  # FFCV's would be empty
        expected[:2] = [(side - 1) // 2 for side in size]
    assert centre_crops(np.array([size[0]]), np.array([size[1]]), 224 / 256)[0].tolist() == expected


def test_a_view_says_which_kind_of_crop() -> None:
    crops, samples, sizes = Crops(5, 0.25, 0.5), np.arange(4), np.full(4, 100)
    np.testing.assert_array_equal(crops.rectangles(View(32, None), samples, sizes, sizes), [[25, 25, 50, 50]] * 4)
    np.testing.assert_array_equal(
        crops.rectangles(View(32, 6), samples, sizes, sizes), crops_of(5, 6, samples, 100, 100, 0.25)
    )
    # The resolution changes the size of what comes out and not the place that it comes from.
    np.testing.assert_array_equal(
        crops.rectangles(View(32, 6), samples, sizes, sizes), crops.rectangles(View(64, 6), samples, sizes, sizes)
    )


@pytest.mark.usefixtures("needs_ffcv")
def test_written_sizes_are_those_of_ffcvs_writer() -> None:
    from ffcv.fields.rgb_image import resizer

    for height, width in ((375, 500), (500, 375), (751, 1000), (333, 501), (500, 500), (1200, 77)):
        for longest in (None, 500, 300):
            image = np.zeros((height, width, 3), np.uint8)
            assert written_size(height, width, longest) == resizer(image, longest).shape[:2]
