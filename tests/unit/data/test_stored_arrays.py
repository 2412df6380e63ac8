"""A set of arrays, read back from its .beton files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from acdc_cli.data.dataset import Dataset, read_dataset
from acdc_cli.data.loading.stored_arrays import read_arrays


@pytest.fixture
def digits(data_dir: Path, tmp_path: Path, needs_ffcv: None) -> Dataset:
    """A copy of the prepared digits."""
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    return read_dataset(tmp_path / "digits")


def test_they_are_the_samples_of_the_source(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digits.read_source()
    monkeypatch.setattr(Dataset, "read_source", lambda _: pytest.fail("the .beton files have them"))
    found = read_arrays(digits)
    for split in ("train", "val"):
        assert found[split].images.dtype == np.uint8 and found[split].labels.dtype == np.int64
        np.testing.assert_array_equal(found[split].images, expected[split].images)
        np.testing.assert_array_equal(found[split].labels, expected[split].labels)


@pytest.mark.parametrize("damage", ["missing", "a pixel"])
def test_the_source_is_read_where_a_file_does_not_hold_them(damage: str, digits: Dataset) -> None:
    path = digits.beton("train")
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "a pixel":
        start = content.index(digits.read_source()["train"].images[5].tobytes())
        content[start + 3] ^= 1
        path.write_bytes(content)
    np.testing.assert_array_equal(read_arrays(digits)["train"].images, digits.read_source()["train"].images)
