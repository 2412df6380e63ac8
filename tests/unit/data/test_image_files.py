"""Which files of a folder tree are samples, and what is said of a tree that is none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.image_tree import FOLDERS
from PIL import Image

from acdc_cli.data.image_files import parse_samples, read_rgb, read_tree, sample_lines
from acdc_cli.errors import DataMissing

COMMAND = "acdc-data prepare imagenet --source DIR"


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def small_tree(root: Path) -> Path:
    touch(root, "train/b/1.jpg", "train/a/2.JPEG", "train/a/10.png", "val/a/x.jpg", "val/b/y.jpg")
    return root


def test_samples_are_sorted_by_class_then_name(tmp_path: Path) -> None:
    files = read_tree(small_tree(tmp_path), COMMAND)
    assert files["train"].paths == ["train/a/10.png", "train/a/2.JPEG", "train/b/1.jpg"]
    assert files["train"].labels.tolist() == [0, 0, 1] and files["train"].labels.dtype == np.int64
    assert files["val"].paths == ["val/a/x.jpg", "val/b/y.jpg"]
    assert files["train"].class_names == files["val"].class_names == ["a", "b"]


def test_only_images_count_however_deep_they_lie(tmp_path: Path) -> None:
    touch(small_tree(tmp_path), "train/a/notes.txt", "train/a/.hidden.jpg", "train/.cache/z.jpg", "train/labels.csv")
    touch(tmp_path, "val/b/images/deep.jpg")
    files = read_tree(tmp_path, COMMAND)
    assert files["train"].paths == ["train/a/10.png", "train/a/2.JPEG", "train/b/1.jpg"]
    assert files["val"].paths == ["val/a/x.jpg", "val/b/images/deep.jpg", "val/b/y.jpg"]


def test_the_same_samples_as_torchvisions_image_folder(image_tree: Path) -> None:
    from torchvision.datasets import ImageFolder

    for split, files in read_tree(image_tree, COMMAND).items():
        theirs = ImageFolder(image_tree / split)
        assert [(str(files.root / path), label) for path, label in zip(files.paths, files.labels, strict=True)] == (
            theirs.samples
        )
        assert files.class_names == theirs.classes == sorted(FOLDERS)
        np.testing.assert_array_equal(read_rgb(files.root / files.paths[7]), np.asarray(theirs[7][0]))


def no_source(root: Path) -> list[str]:
    shutil.rmtree(root)
    return [f"{root}:", "train/"]


def no_val(root: Path) -> list[str]:
    (root / "val").rename(root / "valid")
    return [f"{root / 'val'}:", "nearest there: valid"]


def class_missing_in_val(root: Path) -> list[str]:
    shutil.rmtree(root / "val" / "b")
    return [f"{root / 'val'}:", "class b"]


def class_missing_in_train(root: Path) -> list[str]:
    touch(root, "val/c/1.jpg")
    return [f"{root / 'train'}:", "class c"]


def flat_val(root: Path) -> list[str]:
    shutil.rmtree(root / "val")
    touch(root, "val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000002.JPEG")
    return [f"{root / 'val'}:", "2 images and no class folders", "val/CLASS/IMAGE"]


def train_still_in_archives(root: Path) -> list[str]:
    shutil.rmtree(root / "train")
    touch(root, "train/n01440764.tar")
    return [f"{root / 'train'}:", "1 archives", "unpack"]


def empty_class(root: Path) -> list[str]:
    (root / "val" / "a" / "x.jpg").unlink()
    return [f"{root / 'val' / 'a'}:", "no images"]


def one_class(root: Path) -> list[str]:
    for split in ("train", "val"):
        shutil.rmtree(root / split / "b")
    return [f"{root / 'train'}:", "one class folder, a"]


def one_level_up(root: Path) -> list[str]:
    inside = root / "ILSVRC" / "Data" / "CLS-LOC"
    inside.mkdir(parents=True)
    for split in ("train", "val"):
        (root / split).rename(inside / split)
    return [f"{root / 'train'}:", f"{inside} holds train/ and val/"]


def link_to_itself(root: Path) -> list[str]:
    (root / "train" / "a" / "again").symlink_to(root / "train")
    return [f"{root / 'train' / 'a' / 'again'}:", "a link to a folder that it is in"]


BROKEN = [
    one_level_up,
    link_to_itself,
    no_source,
    no_val,
    class_missing_in_val,
    class_missing_in_train,
    flat_val,
    train_still_in_archives,
    empty_class,
    one_class,
]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_tree_that_is_none_is_named_with_what_to_do(fault: Callable, tmp_path: Path) -> None:
    root = small_tree(tmp_path / "source")
    parts = fault(root)
    with pytest.raises(DataMissing) as raised:
        read_tree(root, COMMAND)
    assert [part for part in [*parts, COMMAND] if part not in str(raised.value)] == []


def test_a_split_given_as_the_source_is_recognised(tmp_path: Path) -> None:
    small_tree(tmp_path / "source")
    with pytest.raises(DataMissing, match=f"{tmp_path / 'source'} holds train/ and val/"):
        read_tree(tmp_path / "source" / "train", COMMAND)


def test_a_class_may_be_a_link(tmp_path: Path) -> None:
    root = small_tree(tmp_path / "source")
    (root / "train" / "a").rename(tmp_path / "elsewhere")
    (root / "train" / "a").symlink_to(tmp_path / "elsewhere")
    assert read_tree(root, COMMAND)["train"].paths == ["train/a/10.png", "train/a/2.JPEG", "train/b/1.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = small_tree(tmp_path / "source"), os.scandir

    def refusing(folder: Path) -> Iterator[os.DirEntry]:
        if str(folder).endswith("val/b"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(DataMissing, match=rf"{root}/val/b: Permission denied; .*{COMMAND}"):
        read_tree(root, COMMAND)


def test_the_list_of_samples_comes_back(image_tree: Path) -> None:
    files = read_tree(image_tree, COMMAND)["val"]
    again = parse_samples(sample_lines(files), files.root, files.class_names)
    assert again.paths == files.paths and again.root == files.root
    np.testing.assert_array_equal(again.labels, files.labels)


@pytest.mark.parametrize("text", ["a.jpg\n", "a.jpg\tx\n", "a.jpg\t2\n", "a.jpg\t-1\n", "a\tb\t0\n"])
def test_anything_else_is_no_list_of_samples(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_samples(text, tmp_path, ["a", "b"])


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_every_kind_of_image_is_read_as_three_channels(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("image.jpg" if mode in ("L", "CMYK") else "image.png")
    Image.new("RGB", (5, 4), (200, 200, 200)).convert(mode).save(path)
    assert read_rgb(path).shape == (4, 5, 3)
