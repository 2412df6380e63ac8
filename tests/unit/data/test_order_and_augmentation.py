"""Which sample comes when and how it is augmented: functions of (seed, epoch, sample) and of nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from acdc_cli.data.loading.input_step import Augmentation, Normalization
from acdc_cli.data.order import hash_of, sample_order, uniform

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(x: int) -> int:
    """The output function of splitmix64 in Python's whole numbers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def slow_uniform(seed: int, epoch: int, sample: int, draw: int) -> float:
    key = splitmix64((seed + GOLDEN) & MASK)
    for part in (epoch, draw, sample):
        key = splitmix64(key ^ ((part + GOLDEN) & MASK))
    return (key >> 11) / 2**53


# ------------------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("count", [1, 2, 17, 1437])
def test_an_epoch_visits_every_sample_once(count: int) -> None:
    order = sample_order(seed=3, epoch=5, count=count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    np.random.seed(0)
    first = sample_order(3, 5, 100)
    np.random.seed(1)
    sample_order(4, 5, 100)
    assert sample_order(3, 5, 100).tolist() == first.tolist()


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(sample_order(seed, epoch, 50).tolist()) for seed, epoch in product(range(5), range(20))}
    assert len(orders) == 100


# ----------------------------------------------------------------------------------------------------------- numbers


def test_splitmix64_gives_its_published_first_output() -> None:
    assert splitmix64(GOLDEN) == 0xE220A8397B1DCDAF  # seed 0


def test_numbers_agree_with_python_arithmetic() -> None:
    samples = np.array([0, 1, 2, 59_999, 2**40])
    for seed, epoch, draw in product((0, 7, 2**31 - 1), (0, 199), (0, 1, 2)):
        expected = [slow_uniform(seed, epoch, int(sample), draw) for sample in samples]
        assert uniform(seed, epoch, samples, draw).tolist() == expected


@pytest.mark.parametrize("parts", [(0,), (7,), (0, 0), (3, 199, 12, 1), (2**31 - 1, 0, 2**40, 63)], ids=str)
def test_a_hash_agrees_with_python_arithmetic(parts: tuple[int, ...]) -> None:
    expected = splitmix64((parts[0] + GOLDEN) & MASK)
    for part in parts[1:]:
        expected = splitmix64(expected ^ ((part + GOLDEN) & MASK))
    assert hash_of(*parts) == expected


def test_a_hash_depends_on_every_part_and_on_their_order() -> None:
    assert hash_of(0) == 0xE220A8397B1DCDAF  # splitmix64's published first output
    hashes = {hash_of(*parts) for parts in product(range(6), repeat=4)} | {
        hash_of(*parts) for parts in product(range(6), repeat=2)
    }
    assert len(hashes) == 6**4 + 6**2
    assert all(0 <= each < 2**64 for each in hashes)


def test_a_samples_number_is_the_same_in_any_batch() -> None:
    samples = np.arange(1000)
    whole = uniform(3, 5, samples, 0)
    shuffled = np.random.default_rng(0).permutation(1000)
    assert uniform(3, 5, samples[shuffled], 0).tolist() == whole[shuffled].tolist()
    assert [uniform(3, 5, samples[k : k + 1], 0).item() for k in range(20)] == whole[:20].tolist()
    assert uniform(3, 5, samples.astype(np.int32), 0).tolist() == whole.tolist()


def test_numbers_are_spread_evenly() -> None:
    """In 16 bins of 100,000 numbers: chi-square with 15 degrees of freedom is below 44 in all but 1 of 10,000 cases."""
    numbers = uniform(0, 0, np.arange(100_000), 0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.bincount((numbers * 16).astype(int), minlength=16)
    assert ((counts - 6250) ** 2 / 6250).sum() < 44


@pytest.mark.parametrize("other", [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)], ids=str)
def test_seeds_epochs_and_draws_are_independent(other: tuple[int, int, int]) -> None:
    """Correlation of 100,000 pairs: standard deviation 0.0032; also when moved by one sample."""
    samples = np.arange(100_000)
    seed, epoch, draw = other
    a, b = uniform(0, 0, samples, 0), uniform(seed, epoch, samples, draw)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.015
    assert abs(np.corrcoef(a[1:], b[:-1])[0, 1]) < 0.015


# ------------------------------------------------------------------------------------------------------ augmentation


def pictures(count: int, height: int, width: int, channels: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, height, width, channels), generator=generator, dtype=torch.uint8)


def slow_augment(image: np.ndarray, padding: int, flip: bool, seed: int, epoch: int, sample: int) -> np.ndarray:
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    row = int(slow_uniform(seed, epoch, sample, 0) * (2 * padding + 1))
    column = int(slow_uniform(seed, epoch, sample, 1) * (2 * padding + 1))
    crop = padded[row : row + height, column : column + width]
    return crop[:, ::-1] if flip and slow_uniform(seed, epoch, sample, 2) < 0.5 else crop


@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (1, False), (2, True), (4, True)])
@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (5, 7, 3)])
def test_agrees_with_one_sample_at_a_time(padding: int, flip: bool, height: int, width: int, channels: int) -> None:
    images = pictures(40, height, width, channels)
    samples = np.random.default_rng(0).permutation(1000)[:40]
    augmented = Augmentation(padding, flip, seed=11)(images, samples, epoch=6)
    assert augmented.dtype == torch.uint8
    for image, sample, result in zip(images.numpy(), samples, augmented.numpy(), strict=True):
        assert result.tolist() == slow_augment(image, padding, flip, 11, 6, int(sample)).tolist()


def test_a_sample_is_augmented_alike_in_any_batch() -> None:
    images, samples = pictures(30, 8, 8, 3), np.arange(30)
    augment = Augmentation(2, True, seed=0)
    whole = augment(images, samples, epoch=1)
    parts = [augment(images[start : start + 7], samples[start : start + 7], epoch=1) for start in range(0, 30, 7)]
    assert torch.equal(torch.cat(parts), whole)


def test_all_crops_occur_equally_often_and_half_are_flipped() -> None:
    """One bright pixel in the middle of 3x3, padding 1: it lands on each of the 9 places about n / 9 times."""
    images = torch.zeros(9000, 3, 3, 1, dtype=torch.uint8)
    images[:, 1, 1] = 255
    landed = Augmentation(1, False, seed=0)(images, np.arange(9000), epoch=0).flatten(1).int().argmax(dim=1)
    counts = torch.bincount(landed, minlength=9)
    assert int((counts - 1000).abs().max()) < 150  # five standard deviations of 30
    images = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).repeat(9000, 1, 1, 1)
    flipped = Augmentation(0, True, seed=0)(images, np.arange(9000), epoch=0)[:, 0, 0, 0] == 255
    assert abs(int(flipped.sum()) - 4500) < 240


def test_epochs_and_seeds_augment_differently() -> None:
    images, samples = pictures(30, 8, 8, 3), np.arange(30)
    base = Augmentation(2, True, seed=0)(images, samples, epoch=0)
    assert not torch.equal(Augmentation(2, True, seed=0)(images, samples, epoch=1), base)
    assert not torch.equal(Augmentation(2, True, seed=1)(images, samples, epoch=0), base)


def test_the_loaders_images_stay_as_they_are() -> None:
    images = pictures(10, 8, 8, 3)
    before = images.clone()
    Augmentation(2, True, seed=0)(images, np.arange(10), epoch=0)
    assert torch.equal(images, before)


# ----------------------------------------------------------------------------------------------------- normalization


@pytest.mark.parametrize("channels_last", [True, False])
def test_normalization_by_hand(channels_last: bool) -> None:
    """(pixel / 255 - mean) / std, channels first: 0 and 255 and 51 = 255 / 5."""
    images = torch.tensor([[[[0, 255], [51, 51]], [[255, 0], [0, 0]]]], dtype=torch.uint8)  # 1 x 2 x 2 x 2
    normal = Normalization((0.5, 0.2), (0.5, 0.1), channels_last)(images)
    expected = [[[[-1.0, -0.6], [1.0, -1.0]], [[8.0, 0.0], [-2.0, -2.0]]]]
    assert normal.dtype == torch.float32
    torch.testing.assert_close(normal, torch.tensor(expected), rtol=0, atol=1e-5)


def test_normalization_gives_the_memory_format_asked_for() -> None:
    images = pictures(2, 8, 8, 3)
    last = Normalization((0.5,) * 3, (0.5,) * 3, channels_last=True)(images)
    first = Normalization((0.5,) * 3, (0.5,) * 3, channels_last=False)(images)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert first.is_contiguous()
    assert torch.equal(first, last)
