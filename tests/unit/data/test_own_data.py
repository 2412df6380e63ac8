"""Data of one's own without code: what is read, what is refused, which content it is and where it lies prepared."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.own_data import IDX_NAMES, Arrays, idx_bytes, small_arrays, write_class_folders, write_idx, write_npz
from helpers.support import Command

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_id
from acdc_cli.config.retyped import as_overrides
from acdc_cli.config.schema import Config
from acdc_cli.config.text import from_yaml, to_yaml
from acdc_cli.data.dataset import Dataset
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.preparing.check import check
from acdc_cli.data.preparing.find import open_dataset, require_beton
from acdc_cli.data.preparing.own import locate_own_data
from acdc_cli.data.sets import fashion_mnist
from acdc_cli.data.source import Arrays as Sampled
from acdc_cli.data.source import Samples, Source
from acdc_cli.errors import BadInput, DataMissing
from acdc_cli.parts import DATASETS
from acdc_cli.planning.plan import plan
from acdc_cli.planning.settle import settle

SPLITS = ("train", "val")
RUN = ("epochs=2", "model.width=1", "batch_size=20", "loader=torch", "device=cpu", "threads=1", "tracker=none")


def config_of(data_dir: Path, *typed: str) -> Config:
    return compose_config([f"data_dir={data_dir}", "loader=torch", "device=cpu", "threads=1", *typed])


def opened(data_dir: Path, *typed: str) -> Dataset:
    config = config_of(data_dir, *typed)
    return open_dataset(config.dataset.name, data_dir, pytest.fail, config.dataset.options)


def located(data_dir: Path, *typed: str) -> tuple[Path, str | None]:
    config = config_of(data_dir, *typed)
    return locate_own_data(config.dataset.name, config.dataset.options, data_dir)


def id_of(data_dir: Path, *typed: str) -> str:
    return run_id(settle(config_of(data_dir, *typed), pytest.fail))


# idx and .npz


@pytest.mark.parametrize(("dot", "gzipped"), [(False, False), (True, False), (False, True), (True, True)])
def test_idx_files_of_any_usual_name(dot: bool, gzipped: bool, tmp_path: Path) -> None:
    arrays = small_arrays()
    dataset = opened(tmp_path, "dataset=idx", f"dataset.source={write_idx(tmp_path / 'source', arrays, dot, gzipped)}")
    samples = dataset.read_source()
    for split in SPLITS:
        np.testing.assert_array_equal(samples[split].images[..., 0], arrays[f"x_{split}"])
        np.testing.assert_array_equal(samples[split].labels, arrays[f"y_{split}"])
    assert (dataset.sample_shape, dataset.classes, dataset.count("train"), dataset.count("val")) == (
        (1, 28, 28),
        10,
        60,
        20,
    )
    pixels = arrays["x_train"] / 255
    assert dataset.info["mean"] == pytest.approx([pixels.mean()])
    assert dataset.info["std"] == pytest.approx([pixels.std()])


def test_arrays_of_grey_and_of_coloured_images(tmp_path: Path) -> None:
    grey = small_arrays()
    coloured = grey | {f"x_{split}": np.stack([grey[f"x_{split}"]] * 3, axis=-1) for split in SPLITS}
    one = opened(tmp_path, "dataset=arrays", f"dataset.source={write_npz(tmp_path / 'grey.npz', grey)}")
    three = opened(tmp_path, "dataset=arrays", f"dataset.source={write_npz(tmp_path / 'coloured.npz', coloured)}")
    assert (one.sample_shape, three.sample_shape) == ((1, 28, 28), (3, 28, 28))
    np.testing.assert_array_equal(three.read_source()["val"].images, coloured["x_val"])


def test_padding_puts_zeros_around_the_images(tmp_path: Path) -> None:
    arrays = small_arrays(27, 28)
    dataset = opened(
        tmp_path, "dataset=arrays", f"dataset.source={write_npz(tmp_path / 'a.npz', arrays)}", "dataset.pad_to=32"
    )
    images = dataset.read_source()["train"].images[..., 0]
    assert images.shape == (60, 32, 32)
    np.testing.assert_array_equal(images[:, 2:29, 2:30], arrays["x_train"])  # 5 rows: 2 above and 3 below
    assert images.sum(dtype=np.int64) == arrays["x_train"].sum(dtype=np.int64)


class RunsACommand:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.system, (f"touch {self.trap}",)


def changed(arrays: Arrays, **values: Any) -> Arrays:
    return {key: value for key, value in (arrays | values).items() if value is not None}


GOOD = small_arrays()
CHANNELS_FIRST = np.zeros((60, 3, 32, 32), np.uint8)
OBJECTS = np.array([{}] * 20, object)
WRONG_ARRAYS = {
    "float images": (changed(GOOD, x_val=GOOD["x_val"] / 255), "x_val is float64 of shape 20x28x28; needed"),
    "two dimensions": (changed(GOOD, x_train=GOOD["x_train"][0]), "x_train is uint8 of shape 28x28"),
    "channels first": (changed(GOOD, x_train=CHANNELS_FIRST), "x_train has shape 60x3x32x32: the channels go last"),
    "no labels": (changed(GOOD, y_val=None), "has no y_val; it has x_train, y_train, x_val"),
    "too few labels": (changed(GOOD, y_train=GOOD["y_train"][1:]), "60 images in x_train, but 59 labels in y_train"),
    "a column of labels": (changed(GOOD, y_train=GOOD["y_train"][:, None]), "y_train is int64 of shape 60x1"),
    "float labels": (changed(GOOD, y_train=GOOD["y_train"] / 2), "y_train is float64 of shape 60"),
    "negative labels": (changed(GOOD, y_val=GOOD["y_val"] - 1), "y_val has the label -1"),
    "other sizes": (changed(GOOD, x_val=GOOD["x_val"][:, 1:]), "x_train and x_val have images of 28x28x1 and 27x28x1"),
    "one class": (changed(GOOD, y_train=GOOD["y_train"] * 0, y_val=GOOD["y_val"] * 0), "all labels are 0"),
    "no images": (changed(GOOD, x_val=GOOD["x_val"][:0], y_val=GOOD["y_val"][:0]), "x_val has shape 0x28x28"),
    "oblong": (small_arrays(20, 28), "images of 20x28 pixels are not square; add dataset.pad_to=28"),
    "objects": (changed(GOOD, y_val=OBJECTS), "not a .npz file of plain arrays (Object arrays cannot"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_ARRAYS)
def test_other_arrays_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    arrays, message = WRONG_ARRAYS[what]
    path = write_npz(tmp_path / "a.npz", arrays)
    with pytest.raises(DataMissing) as refused:
        located(tmp_path / "data", "dataset=arrays", f"dataset.source={path}")
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)
    assert not any((tmp_path / "data").glob("arrays*"))


def test_a_pickle_in_place_of_an_npz_file_is_not_run(tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(RunsACommand(trap)))
    with pytest.raises(DataMissing, match=r"not a .npz file, which is a zip archive"):
        located(tmp_path / "data", "dataset=arrays", f"dataset.source={path}")
    armed = np.empty(1, object)
    armed[0] = RunsACommand(trap)
    write_npz(path, GOOD | {"y_val": armed})
    with pytest.raises(DataMissing, match=r"not a .npz file of plain arrays"):
        located(tmp_path / "data", "dataset=arrays", f"dataset.source={path}")
    assert not trap.exists()
    with np.load(path, allow_pickle=True) as content:
        content["y_val"]
    assert trap.exists()  # the trap works


IMAGES = idx_bytes(GOOD["x_train"])
WRONG_IDX = {
    "missing": (None, "missing; dataset.source names a folder with train-images-idx3-ubyte"),
    "cut short": (IMAGES[:-1], f"not an idx file ({60 * 28 * 28 - 1} bytes follow its header, which says 60x28x28)"),
    "too long": (IMAGES + b"0", f"not an idx file ({60 * 28 * 28 + 1} bytes follow its header"),
    "empty": (b"", "not an idx file (it does not begin as an idx file of unsigned bytes in 3 dimensions does)"),
    "floats": (IMAGES[:2] + b"\x0d" + IMAGES[3:], "not an idx file (it does not begin as"),
    "labels": (idx_bytes(GOOD["y_train"]), "not an idx file (it does not begin as"),
    "text": (b"<html>404 not found</html>", "not an idx file (it does not begin as"),
}


@pytest.mark.parametrize("what", WRONG_IDX)
def test_other_idx_files_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    content, message = WRONG_IDX[what]
    path = write_idx(tmp_path / "source", GOOD) / IDX_NAMES["x_train"]
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DataMissing) as refused:
        located(tmp_path / "data", "dataset=idx", f"dataset.source={path.parent}")
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = write_idx(tmp_path / "source", GOOD, gzipped=True) / f"{IDX_NAMES['x_val']}.gz"
    for content in (path.read_bytes()[:-9], b"\x1f\x8b" + path.read_bytes()[30:], b"no gzip"):
        path.write_bytes(content)
        with pytest.raises(DataMissing, match=r"t10k-images-idx3-ubyte.gz: not an idx file"):
            located(tmp_path / "data", "dataset=idx", f"dataset.source={path.parent}")


# Class folders


def validation_by_the_rule(paths: list[str], share: float, seed: int) -> set[str]:
    """data/split.py's docstring, again: each class by the SHA-256 of SEED/PATH, the first round(share * n)."""
    chosen: set[str] = set()
    for name in {path.partition("/")[0] for path in paths}:
        own = [path for path in paths if path.startswith(f"{name}/")]
        own.sort(key=lambda path: hashlib.sha256(f"{seed}/{path}".encode()).hexdigest())
        chosen |= set(own[: min(max(round(share * len(own)), 1), len(own) - 1)])
    return chosen


@pytest.mark.parametrize(("share", "seed", "of_each"), [(0.3, 0, 3), (0.3, 7, 3), (0.01, 0, 1), (0.99, 0, 9)])
def test_class_folders_are_split_by_the_stated_rule(share: float, seed: int, of_each: int, tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "source")
    every = [path.relative_to(source).as_posix() for path in source.rglob("*.png")]
    typed = ["dataset=folder", f"dataset.source={source}", f"dataset.val_share={share}", f"dataset.split_seed={seed}"]
    dataset = opened(tmp_path / "data", *typed)
    files = dataset.read_files()
    assert set(files["val"].paths) == validation_by_the_rule(every, share, seed)
    assert sorted(files["train"].paths + files["val"].paths) == sorted(every)
    assert np.bincount(files["val"].labels).tolist() == [of_each] * 3
    names = [files["val"].class_names[label] for label in files["val"].labels]
    assert names == [path.partition("/")[0] for path in files["val"].paths]
    info = json.loads((dataset.folder / "dataset.json").read_text())
    assert info["options"] == {"val_share": share, "split_seed": seed}
    assert "SHA-256 of split_seed/path" in info["split"]
    assert check(dataset, read_images=True) == []


def test_train_and_val_are_kept_as_they_are(image_tree: Path, tmp_path: Path) -> None:
    typed = ["dataset=folder", f"dataset.source={image_tree}"]
    dataset = opened(tmp_path, *typed)
    files = dataset.read_files()
    for split in SPLITS:
        assert {path.partition("/")[0] for path in files[split].paths} == {split}
    assert (dataset.count("train"), dataset.count("val"), dataset.classes) == (120, 40, 10)
    # The keys of the rule are not read, so that they make no other run.
    assert id_of(tmp_path, *typed, "dataset.split_seed=5") == id_of(tmp_path, *typed)


def loose_images(source: Path) -> str:
    for path in list(source.rglob("*.png")):
        path.rename(source / f"{path.parent.name}-{path.name}")
    for folder in [path for path in source.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    return f"{source}: no class folders; it needs a folder for each class, or train/ and val/"


def one_class(source: Path) -> str:
    for name in ("class 1", "class 2"):
        shutil.rmtree(source / name)
    return f"{source}: one class folder, class 0"


def one_image(source: Path) -> str:
    for path in list((source / "class 1").rglob("*.png"))[1:]:
        path.unlink()
    return f"{source / 'class 1'}: 1 images; a class needs two"


def other_words(source: Path) -> str:
    for name, word in (("class 0", "training"), ("class 1", "validation")):
        (source / name).rename(source / word)
    shutil.rmtree(source / "class 2")
    return f"{source}: holds training, validation; call the two folders train and val"


def only_train(source: Path) -> str:
    (source / "class 0").rename(source / "train")
    return f"{source / 'val'}: missing"


def unreadable_class(source: Path) -> str:
    for path in (source / "class 2").rglob("*.png"):
        path.write_bytes(b"no image")
    return f"{source / 'class 2'}: none of its images can be read"


@pytest.mark.parametrize("fault", [loose_images, one_class, one_image, other_words, only_train, unreadable_class])
def test_faulty_folders_are_refused_in_one_line(fault: Callable[[Path], str], tmp_path: Path) -> None:
    message = fault(source := write_class_folders(tmp_path / "source"))
    with pytest.raises(DataMissing) as refused:
        located(tmp_path / "data", "dataset=folder", f"dataset.source={source}")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_an_unreadable_image_is_left_out_and_named(tmp_path: Path) -> None:
    source = write_class_folders(tmp_path / "source")
    (source / "class 1" / "3.png").write_bytes(b"no image")
    dataset = opened(tmp_path / "data", "dataset=folder", f"dataset.source={source}")
    assert dataset.count("train") + dataset.count("val") == 29
    skipped = dataset.info["train"]["skipped"] | dataset.info["val"]["skipped"]
    assert list(skipped) == ["class 1/3.png"]


# Content, ids and folders


def sources(tmp_path: Path) -> dict[str, tuple[Path, Callable[[], None]]]:
    """Data set -> where its data are, and what changes one pixel of them."""
    arrays = small_arrays()
    other = arrays | {"x_val": arrays["x_val"] ^ (np.arange(20) == 7).astype(np.uint8)[:, None, None]}
    npz, folder = write_npz(tmp_path / "a.npz", arrays), write_class_folders(tmp_path / "folder")

    def change_image() -> None:
        path = folder / "class 1" / "4.png"
        shutil.copy(folder / "class 1" / "5.png", path)

    return {
        "arrays": (npz, lambda: write_npz(npz, other) and None),
        "idx": (idx := write_idx(tmp_path / "idx", arrays), lambda: write_idx(idx, other) and None),
        "folder": (folder, change_image),
    }


@pytest.mark.parametrize("name", ["arrays", "idx", "folder"])
def test_the_content_enters_the_id_and_the_path_does_not(name: str, tmp_path: Path) -> None:
    (source, change), data = sources(tmp_path)[name], tmp_path / "data"
    chosen = f"dataset={name}"
    first = id_of(data, chosen, f"dataset.source={source}")
    folder, content_hash = located(data, chosen, f"dataset.source={source}")
    assert folder == data / f"{name}-{str(content_hash)[:8]}"
    assert opened(data, chosen, f"dataset.source={source}").info["content_hash"] == content_hash
    moved = source.rename(tmp_path / f"moved{source.suffix}")
    assert id_of(data, chosen, f"dataset.source={moved}") == first
    reopened = opened(data, chosen, f"dataset.source={moved}")
    assert (reopened.folder, reopened.info["source"]) == (folder, str(moved))
    moved.rename(source)
    change()
    assert id_of(data, chosen, f"dataset.source={source}") != first
    assert opened(data, chosen, f"dataset.source={source}").folder != folder


def test_a_stored_config_is_typed_again_without_what_is_derived(tmp_path: Path) -> None:
    """As `acdc-report --run` and a launcher start a run anew, from any folder."""
    source = write_npz(tmp_path / "a.npz", small_arrays())
    settled = settle(config_of(tmp_path / "data", "dataset=arrays", f"dataset.source={source}"), pytest.fail)
    typed = as_overrides(settled)
    assert not [word for word in typed if word.startswith("dataset.content_hash=")]
    assert run_id(settle(compose_config(typed), pytest.fail)) == run_id(settled)
    read_back = from_yaml(to_yaml(settled))
    assert read_back.dataset == settled.dataset and run_id(read_back) == run_id(settled)


def test_what_lies_prepared_has_the_id_of_its_source(tmp_path: Path, acdc_data: Callable[..., int], capsys) -> None:
    source, data = write_idx(tmp_path / "idx", small_arrays()), tmp_path / "data"
    first = id_of(tmp_path / "elsewhere", "dataset=idx", f"dataset.source={source}", "dataset.pad_to=32")
    prepare = ("prepare", "idx", "--source", source, "--out", data / "idx")
    assert acdc_data(*prepare, "--set", "pad_to=32") == 0
    assert id_of(data, "dataset=idx", "dataset.pad_to=32") == first
    with pytest.raises(DataMissing, match=r"was prepared with other keys than dataset.pad_to=null; prepare it again"):
        id_of(data, "dataset=idx")
    assert acdc_data(*prepare) == 0
    assert id_of(data, "dataset=idx") == id_of(tmp_path / "elsewhere", "dataset=idx", f"dataset.source={source}")
    capsys.readouterr()
    for typed, part in (
        ("pad_to=20", "dataset.pad_to=20: smaller"),
        ("pad_to=x", "dataset.pad_to=x"),
        ("size=3", "pad_to"),
    ):
        assert acdc_data(*prepare, "--set", typed) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and part in err


@pytest.mark.parametrize("name", ["arrays", "folder"])
def test_unchanged_files_are_not_read_again(name: str, tmp_path: Path) -> None:
    """What they are known by is names, sizes and times: content that is changed behind their back goes unnoticed."""
    source, data = sources(tmp_path)[name][0], tmp_path / "data"
    before = located(data, f"dataset={name}", f"dataset.source={source}")
    path = source if source.is_file() else source / "class 1" / "4.png"
    status = path.stat()
    path.write_bytes(b"0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert located(data, f"dataset={name}", f"dataset.source={source}") == before
    os.utime(path)
    if name == "arrays":
        with pytest.raises(DataMissing, match=r"not a .npz file"):
            located(data, f"dataset={name}", f"dataset.source={source}")
    else:  # which can do without an image
        assert located(data, f"dataset={name}", f"dataset.source={source}") != before


def test_images_that_were_read_for_their_hash_are_not_read_again_to_be_prepared(tmp_path: Path) -> None:
    """The journal has them; it goes when they are prepared."""
    source, data = write_class_folders(tmp_path / "source"), tmp_path / "data"
    located(data, "dataset=folder", f"dataset.source={source}")
    journals = list((data / ".sources").rglob("*.checked"))
    assert sorted(path.name for path in journals) == ["train.checked", "val.checked"]
    assert sum(len(path.read_text().splitlines()) for path in journals) == 30
    opened(data, "dataset=folder", f"dataset.source={source}")
    assert list((data / ".sources").rglob("*.checked")) == []


def test_data_that_change_after_they_were_located_are_not_prepared(tmp_path: Path) -> None:
    (source, change), data = sources(tmp_path)["idx"], tmp_path / "data"
    config = settle(config_of(data, "dataset=idx", f"dataset.source={source}"), pytest.fail)
    change()
    with pytest.raises(DataMissing, match="has other content than this run began with"):
        open_dataset("idx", data, pytest.fail, config.dataset.options, config.dataset.content_hash)
    assert not list(data.glob("idx-*"))


def test_damage_is_mended_while_the_source_is_there(tmp_path: Path) -> None:
    source, data, said = write_idx(tmp_path / "idx", small_arrays()), tmp_path / "data", list[str]()
    config = config_of(data, "dataset=idx", f"dataset.source={source}")
    dataset = open_dataset("idx", data, said.append, config.dataset.options)
    (dataset.folder / "dataset.json").write_text("{")
    assert check(open_dataset("idx", data, said.append, config.dataset.options)) == []
    assert len(said) == 1 and "is still there and is made again" in said[0]
    (dataset.folder / "dataset.json").write_text("{")
    shutil.rmtree(source)
    with pytest.raises(DataMissing):
        open_dataset("idx", data, said.append, config.dataset.options, dataset.info["content_hash"])


def test_a_plan_reads_the_source_and_writes_nothing(tmp_path: Path) -> None:
    source, data = write_class_folders(tmp_path / "source"), tmp_path / "data"
    planned = plan(config_of(data, "dataset=folder", f"dataset.source={source}", "dataset.resolution=16"))
    three = plan(config_of(data, "dataset=cifar10", "model.width=32"))
    # Of the two networks the last layer differs: 3 classes instead of 10, of 128 features.
    assert three["prunable_weights"] - planned["prunable_weights"] == 7 * 128
    assert not data.exists()


@pytest.mark.parametrize(
    ("typed", "error", "message"),
    [
        (["dataset=folder"], DataMissing, "folder: is data of your own; name it with dataset.source=PATH"),
        (
            ["dataset=idx", "dataset.source=nowhere"],
            DataMissing,
            "dataset.source=nowhere: there is no such file or folder",
        ),
        (["dataset=idx", "dataset.content_hash=12"], BadInput, "dataset.content_hash=12: is derived from the data"),
        (["dataset=folder", "dataset.val_share=1"], BadInput, "dataset.val_share=1.0: outside"),
        (["dataset=folder", "dataset.pad_to=32"], BadInput, "dataset.pad_to=32: dataset=folder does not read it"),
        (["dataset=digits", "dataset.source=here"], BadInput, "dataset.source=here: dataset=digits does not read it"),
        (["dataset=folder", "loader=device"], BadInput, "loader=device: keeps samples of one size"),
    ],
)
def test_keys_that_cannot_be(typed: list[str], error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error) as refused:
        plan(compose_config([f"data_dir={tmp_path}", *typed]))
    assert str(refused.value).startswith(message)


# An embedded set with keys that decide what its samples are


@dataclass(kw_only=True)
class Noise:
    """Random images; without a value for ``images`` there is nothing to know of it."""

    images: int
    flip: bool

    def origin(self) -> Source:
        return Source(Sampled(self.read, str), (1, 8, 8), 2, 2 * self.images)

    def read(self, folder: Path | None) -> dict[str, Samples]:
        random = np.random.default_rng(self.images)
        images = random.integers(0, 256, (self.images, 8, 8, 1), dtype=np.uint8)
        return {split: Samples(images, np.arange(self.images) % 2) for split in SPLITS}


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS, "_parts", dict(DATASETS._parts))
    DATASETS.register("noise", summary="noise", is_embedded=True, content_keys=("images",))(Noise)


@pytest.mark.usefixtures("noise")
def test_each_choice_of_an_embedded_sets_keys_has_a_folder(tmp_path: Path) -> None:
    few, many = (open_dataset("noise", tmp_path, pytest.fail, Noise(images=n, flip=True)) for n in (4, 6))
    assert (few.count("train"), many.count("train")) == (4, 6)
    assert few.folder.parent == many.folder.parent == tmp_path and few.folder != many.folder
    assert few.info["options"] == {"images": 4}
    again = open_dataset("noise", tmp_path, pytest.fail, Noise(images=4, flip=False))
    assert (again.folder, again.info) == (few.folder, few.info)
    assert check(again) == [] and len(again.read_source()["val"].labels) == 4
    assert "--set images=4" in again.prepare_command


# Fashion-MNIST


@pytest.fixture
def clothes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of Debian's package, with small files in it."""
    place = write_idx(tmp_path / "package", small_arrays(), gzipped=True)
    monkeypatch.setattr(fashion_mnist, "PLACE", place)
    return place


@pytest.mark.usefixtures("clothes", "needs_ffcv")
@pytest.mark.parametrize("pad_to", [None, 32])
def test_all_loaders_give_the_same_clothes(pad_to: int | None, tmp_path: Path) -> None:
    typed = ["dataset=fashion_mnist", f"dataset.pad_to={'null' if pad_to is None else pad_to}"]
    dataset = require_beton(opened(tmp_path / "data", *typed), pytest.fail)
    around = 0 if pad_to is None else 2
    for split in SPLITS:
        arrays = small_arrays()
        expected = np.pad(arrays[f"x_{split}"], [(0, 0), (around, around), (around, around)])[..., None]
        for kind in ("ffcv", "torch", "device"):
            loader = open_loaders(kind, dataset, 1, torch.device("cpu"))[split]
            batches = [(x.clone(), y) for x, y, _ in loader.batches(in_batches(np.arange(loader.count), 16))]
            np.testing.assert_array_equal(torch.cat([images for images, _ in batches]), expected)
            np.testing.assert_array_equal(torch.cat([labels for _, labels in batches]), arrays[f"y_{split}"])
    assert check(dataset) == []


def test_fashion_mnist_is_planned_without_being_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "PLACE", tmp_path / "nowhere")
    config = config_of(tmp_path, "model=mlp")
    assert plan(config)["prunable_weights"] == 266_200
    assert plan(config_of(tmp_path, "model=mlp", "dataset.pad_to=32"))["prunable_weights"] == 266_200 + 300 * (
        1024 - 784
    )


def test_without_fashion_mnist_the_line_that_gets_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, acdc_data: Callable[..., int], program: Command, capfd
) -> None:
    monkeypatch.setattr(fashion_mnist, "PLACE", tmp_path / "nowhere")
    trained = program("dataset=fashion_mnist", *RUN)
    assert (trained.returncode, trained.stdout, trained.stderr.count("\n")) == (3, "", 1)
    assert "sudo apt-get install dataset-fashion-mnist" in trained.stderr
    assert acdc_data("prepare", "fashion_mnist", "--out", tmp_path / "out") == 3
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and "sudo apt-get install dataset-fashion-mnist" in err
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_not_fashion_mnist(clothes: Path, tmp_path: Path) -> None:
    write_idx(clothes, small_arrays(32, 32), gzipped=True)
    with pytest.raises(
        DataMissing, match="the train images are 32x32x1 with labels up to 9, which is not Fashion-MNIST"
    ):
        located(tmp_path / "data", "dataset=fashion_mnist")


# Whole runs


@pytest.mark.slow
def test_a_run_is_prepared_found_again_after_a_move_and_evaluated(tmp_path: Path, program: Command) -> None:
    source = write_idx(tmp_path / "source", small_arrays())
    trained = program("dataset=idx", f"dataset.source={source.name}", *RUN)
    assert trained.returncode == 0, trained.stderr
    (folder,) = (tmp_path / "runs" / "default").iterdir()
    moved = source.rename(tmp_path / "moved")
    again = program("dataset=idx", f"dataset.source={moved}", *RUN)
    assert (again.returncode, again.stderr) == (0, "")  # shown, not trained
    assert list((tmp_path / "runs" / "default").iterdir()) == [folder]
    moved.rename(source)
    from acdc_cli.training.reevaluate import reevaluate

    result = json.loads((folder / "result.json").read_text())
    assert reevaluate(folder, "sparse", None, None)["val_loss"] == pytest.approx(result["sparse"]["val_loss"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs", "source"]


@pytest.mark.slow
@pytest.mark.usefixtures("clothes")
def test_a_class_folder_and_the_clothes_train(tmp_path: Path, program: Command) -> None:
    source = write_class_folders(tmp_path / "source")
    for typed in (
        ["dataset=folder", f"dataset.source={source}", "dataset.resolution=16"],
        ["dataset=fashion_mnist", "dataset.pad_to=32"],
    ):
        trained = program(*typed, *RUN)
        assert trained.returncode == 0, trained.stderr
