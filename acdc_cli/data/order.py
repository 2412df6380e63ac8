"""Which sample comes when, and its random draws: pure functions of (seed, epoch, sample), the same for every loader."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 64  # samples that are read in one go where the order is quasi-random: several MB of photographs
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1, _MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def sample_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits the training samples: a permutation of range(count), int64."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def windowed_order(seed: int, epoch: int, count: int, window: int) -> np.ndarray:
    """Quasi-random order: runs of neighbours in random order, mixed within one stretch of ``window`` after another.

    A file that is larger than memory is read in whole runs, and no more than a stretch of it is needed at a time.

    Args:
        window: samples of a stretch. From the whole set up, every order can occur.

    Returns:
        A permutation of range(count), int64.
    """
    rng = np.random.default_rng([seed, epoch])
    runs = np.split(np.arange(count), range(NEIGHBOURS, count, NEIGHBOURS))
    order = np.concatenate([runs[index] for index in rng.permutation(len(runs))])
    return np.concatenate([rng.permutation(order[start : start + window]) for start in range(0, count, window)])


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele et al. 2014), on uint64 with wrap-around."""
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIER_1
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIER_2
    return x ^ (x >> np.uint64(31))


def hash_of(*parts: int) -> int:
    """64 bits that depend on every part and on their order."""
    with np.errstate(over="ignore"):
        key = _mix(np.array([parts[0]], np.uint64) + _GOLDEN)
        for part in parts[1:]:
            key = _mix(key ^ (np.array([part], np.uint64) + _GOLDEN))
    return int(key[0])


def uniform(seed: int, epoch: int, samples: np.ndarray, draw: int) -> np.ndarray:
    """One number in [0, 1) per sample, from a counter-based hash: no generator, so no state to save or to share.

    Args:
        samples: sample indices (N,), whatever batch or worker they are in.
        draw: which of the independent numbers of a sample in an epoch.

    Returns:
        (N,) float64.
    """
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], np.uint64) + _GOLDEN)
        for part in (np.array([epoch], np.uint64), np.array([draw], np.uint64), np.asarray(samples, np.uint64)):
            key = _mix(key ^ (part + _GOLDEN))
    return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53
