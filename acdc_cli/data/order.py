"""Which sample comes when, and its random draws: pure functions of (seed, epoch, sample), the same for every loader."""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1, _MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def sample_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order in which an epoch visits the training samples: a permutation of range(count), int64."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele et al. 2014), on uint64 with wrap-around."""
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIER_1
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIER_2
    return x ^ (x >> np.uint64(31))


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
