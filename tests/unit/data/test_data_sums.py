"""What a prepared set's folder says of itself is checked where it is read; a small embedded set is made again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from acdc_cli.data.beton.index import read_index
from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.preparing.find import open_dataset, require_beton
from acdc_cli.errors import DataMissing


@pytest.fixture
def digits(data_dir: Path, tmp_path: Path) -> Path:
    """A prepared copy that may be damaged."""
    return shutil.copytree(data_dir / "digits", tmp_path / "digits")


def test_the_sum_is_that_of_the_rest_as_canonical_json(digits: Path) -> None:
    info = json.loads((digits / "dataset.json").read_text())
    recorded = info.pop("record_sha256")
    text = json.dumps(info, sort_keys=True, separators=(",", ":"))
    assert recorded == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"count": 1437', '"count": 1436'),
        ('"mean": [\n    0.', '"mean": [\n    1.'),
        ('"classes": 10', '"classes": 11'),
    ],
)
def test_a_changed_number_is_noticed_and_an_embedded_set_made_again(old: str, new: str, digits: Path) -> None:
    path = digits / "dataset.json"
    before = path.read_text()
    assert before.count(old) == 1
    path.write_text(before.replace(old, new))
    with pytest.raises(DataMissing, match="record_sha256 is not that of the rest"):
        read_dataset(digits)
    said: list[str] = []
    assert open_dataset("digits", digits.parent, said.append).info == json.loads(before)
    (line,) = said
    assert line.startswith(f"{path}: unreadable (") and line.endswith("; digits is embedded and is made again")
    assert json.loads(path.read_text()) == json.loads(before)


def test_one_that_an_older_version_has_prepared_is_read(digits: Path) -> None:
    path = digits / "dataset.json"
    info = json.loads(path.read_text())
    del info["record_sha256"], info["beton_index_sha256"]
    path.write_text(json.dumps(info))
    assert read_dataset(digits).index_sum("train") is None
    assert open_dataset("digits", digits.parent).info == info


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


# Bytes of the first sample's row in the table after the header (24 bytes) and the two fields' descriptions (1041 each):
# where its pixels are, and its label.
FIRST_ROW = 24 + 2 * 1041


@pytest.mark.usefixtures("needs_ffcv")
def test_the_tables_sum_is_that_of_all_bytes_but_the_samples(digits: Path) -> None:
    dataset = read_dataset(digits)
    for split, count in (("train", 1437), ("val", 360)):
        content = dataset.beton(split).read_bytes()
        tables = content[: FIRST_ROW + 16 * count] + content[-24 * count :]
        assert dataset.index_sum(split) == hashlib.sha256(tables).hexdigest()


@pytest.mark.usefixtures("needs_ffcv")
def test_a_changed_label_is_noticed_where_the_tables_are_read(digits: Path) -> None:
    dataset = read_dataset(digits)
    path = dataset.beton("train")
    labels = read_index(path).labels
    flip(path, FIRST_ROW + 8)
    changed = read_index(path).labels  # a valid file: only its sum tells
    assert np.flatnonzero(changed != labels).tolist() == [0]
    with pytest.raises(DataMissing, match=r"train\.beton: .*its tables are not those that were written"):
        read_index(path, index_sum=dataset.index_sum("train"))


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("position", [FIRST_ROW + 8, -1, lambda size: size // 2], ids=["label", "last", "a pixel"])
def test_a_small_embedded_set_is_made_again(position: int | Callable[[int], int], digits: Path) -> None:
    dataset = read_dataset(digits)
    path = dataset.beton("val")
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    flip(path, position if isinstance(position, int) else position(path.stat().st_size))
    said: list[str] = []
    require_beton(dataset, said.append)
    assert len(said) == 1 and said[0].startswith(f"{path}: ") and said[0].endswith("is embedded and is made again")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == whole == dataset.info["beton_sha256"]["val"]
