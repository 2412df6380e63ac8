"""The handwritten digits of scikit-learn, 8x8 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acdc_cli.data.keys import ArrayKeys
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.parts import register_dataset

if TYPE_CHECKING:
    import numpy as np

GREY_LEVELS = 16  # the brightest of 0 to 16


@register_dataset("digits", summary="1,797 handwritten digits of 8x8 pixels, inside scikit-learn", is_embedded=True)
@dataclass(kw_only=True)
class Digits(ArrayKeys):
    """The digits have the keys of every set of arrays."""

    def origin(self) -> Source:
        """Return the digits, split 1437 to 360 by ``train_test_split`` with seed 0, stratified."""
        return Source(Arrays(_read, _describe), (1, 8, 8), 10, 1437)


def _split() -> tuple[Any, dict[str, np.ndarray]]:
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    train, val = train_test_split(np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0)
    return digits, {"train": train, "val": val}


def _read(folder: Path | None) -> dict[str, Samples]:
    import numpy as np

    digits, split = _split()
    pixels = np.rint(digits.images * (255 / GREY_LEVELS)).astype(np.uint8)[..., None]
    return {name: Samples(pixels[index], digits.target[index].astype(np.int64)) for name, index in split.items()}


def _describe(split: str) -> list[int]:
    return [int(index) for index in _split()[1][split]]
