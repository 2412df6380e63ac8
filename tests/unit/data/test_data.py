"""Data sets: from their publishers' files through acdc-data to the batches of the three loaders."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from acdc_cli.commands.data import main as acdc_data_main
from acdc_cli.commands.train import run_command_line as acdc_train_main
from acdc_cli.data.dataset import Dataset, read_dataset
from acdc_cli.data.loading.batches import in_batches
from acdc_cli.data.loading.loaders import open_loaders
from acdc_cli.data.preparing.check import check
from acdc_cli.data.preparing.find import open_dataset, require_beton
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.errors import BadInput, DataMissing

SPLITS = ("train", "val")
ACDC_DATA = str(Path(sys.executable).parent / "acdc-data")


def acdc_data(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    """acdc-data in this process: its exit code."""
    monkeypatch.setattr(sys, "argv", ["acdc-data", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        acdc_data_main()
    return int(ended.value.code or 0)


def digits_split() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """contract.md, "Folders": split -> (images in 0..16, labels, their numbers in the published set)."""
    digits = load_digits()
    numbers = np.arange(len(digits.target))
    train, val = train_test_split(numbers, test_size=0.2, stratify=digits.target, random_state=0)
    return {split: (digits.images[part], digits.target[part], part) for split, part in (("train", train), ("val", val))}


def prepared_digit_pixels(split: str) -> np.ndarray:
    """What the .beton has to hold: 17 grey levels spread over 0..255, to the nearest."""
    return np.rint(digits_split()[split][0] * 255 / 16).astype(np.uint8)


@pytest.fixture(scope="module")
def digits(data_dir: Path) -> Dataset:
    return open_dataset("digits", data_dir)


@pytest.fixture
def digits_copy(digits: Dataset, tmp_path: Path) -> Path:
    """A prepared folder to damage."""
    return Path(shutil.copytree(digits.folder, tmp_path / "digits"))


def test_digits_are_split_as_the_contract_says(digits: Dataset) -> None:
    samples, expected = digits.read_source(), digits_split()
    assert [len(samples[split].labels) for split in SPLITS] == [1437, 360]
    for split in SPLITS:
        images, labels, _ = expected[split]
        np.testing.assert_array_equal(samples[split].labels, labels)
        assert samples[split].images.dtype == np.uint8
        np.testing.assert_allclose(samples[split].images[..., 0] / 255, images / 16, atol=0.5 / 255)


def test_dataset_json_says_what_the_folder_holds(digits: Dataset) -> None:
    info = json.loads((digits.folder / "dataset.json").read_text())
    assert (info["name"], info["source"], info["classes"], info["channels"]) == ("digits", None, 10, 1)
    assert info["size"] == [8, 8]
    for split, (_, _, numbers) in digits_split().items():
        assert info[split]["count"] == len(numbers)
        assert info[split]["samples"] == numbers.tolist()
    pixels = digits_split()["train"][0] / 16
    assert info["mean"] == pytest.approx([pixels.mean()], abs=0.5 / 255)
    assert info["std"] == pytest.approx([pixels.std()], abs=0.5 / 255)
    assert (digits.classes, digits.sample_shape, digits.count("val")) == (10, (1, 8, 8), 360)


def test_content_hash_is_of_the_content(digits: Dataset, tmp_path: Path) -> None:
    """The same samples have the same hash in another folder; one other pixel or label has another one."""
    again = prepare("digits", None, tmp_path / "again")
    assert again.info["content_hash"] == digits.info["content_hash"]
    archive = write_cifar10(tmp_path / "source")
    hashes = {prepare("cifar10", archive, tmp_path / "a").info["content_hash"]}
    for batch, row, column in (("data_batch_3", 1, 77), ("test_batch", 0, 3071)):
        content = CIFAR10[batch]
        data = content["data"].copy()
        data[row, column] ^= 1
        write_python2_pickle(archive / batch, content | {"data": data})
        hashes.add(prepare("cifar10", archive, tmp_path / "a").info["content_hash"])
    labels = [(CIFAR10["test_batch"]["labels"][0] + 1) % 10, *CIFAR10["test_batch"]["labels"][1:]]
    write_python2_pickle(archive / "test_batch", CIFAR10["test_batch"] | {"labels": labels})
    hashes.add(prepare("cifar10", archive, tmp_path / "a").info["content_hash"])
    assert len(hashes) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ffcv")
def test_console_script_prepares_lists_and_checks(command: Callable, tmp_path: Path) -> None:
    prepared = command("acdc-data", "prepare", "digits")
    assert (prepared.returncode, prepared.stderr) == (0, "")
    assert "1437" in prepared.stdout and "360" in prepared.stdout
    folder = tmp_path / "data" / "digits"
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "train.beton", "val.beton"]
    listed = command("acdc-data", "list")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in ("digits", "cifar10", "cifar100"))
    checked = command("acdc-data", "check", "data/digits")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["prepare", "digts"], ["digts", "digits"]),
        (["prepare", "digits", "--source", "here"], ["--source here"]),
        (["chekc", "here"], ["chekc", "check"]),
        (["prepare"], ["DATASET"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert acdc_data(*arguments, monkeypatch=monkeypatch) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert [part for part in parts if part not in err] == []
    assert list(tmp_path.iterdir()) == []


def damage_a_pixel(beton: Path) -> None:
    """One bit in the middle of the first validation image, wherever FFCV has put it."""
    pixels = prepared_digit_pixels("val")[0].tobytes()
    content = bytearray(beton.read_bytes())
    content[content.index(pixels) + 30] ^= 1
    beton.write_bytes(content)


def damage_the_header(beton: Path) -> None:
    """Byte 2 is the low byte of FFCV's number of fields."""
    content = bytearray(beton.read_bytes())
    content[2] ^= 1
    beton.write_bytes(content)


def damage_the_last_byte(beton: Path) -> None:
    """It belongs to FFCV's table of where the samples are."""
    content = bytearray(beton.read_bytes())
    content[-1] ^= 1
    beton.write_bytes(content)


def truncate(beton: Path) -> None:
    os.truncate(beton, beton.stat().st_size // 2)


def empty(beton: Path) -> None:
    os.truncate(beton, 0)


def remove(beton: Path) -> None:
    beton.unlink()


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("damage", [damage_a_pixel, truncate, empty, remove])
def test_check_notices(
    damage: Callable, digits_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert check(read_dataset(digits_copy)) == []
    damage(digits_copy / "val.beton")
    assert acdc_data("check", digits_copy, monkeypatch=monkeypatch) == 3
    out, err = capsys.readouterr()
    assert f"{digits_copy / 'val.beton'}:" in out + err
    assert f"acdc-data prepare digits --out {digits_copy}" in out + err
    assert "train.beton" not in out + err


@pytest.mark.slow
@pytest.mark.usefixtures("needs_ffcv")
def test_check_notices_damage_that_ffcv_itself_crashes_on(digits_copy: Path, command: Callable) -> None:
    damage_the_header(digits_copy / "train.beton")
    damage_the_last_byte(digits_copy / "val.beton")
    done = command("acdc-data", "check", str(digits_copy))
    assert done.returncode == 3, done.stderr
    assert all(f"{digits_copy / split}.beton:" in done.stdout + done.stderr for split in SPLITS)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 1, "name": "digits"}', '{"format": 999, "name": "digits"}', "\x00\xff"]
)
def test_a_damaged_dataset_json_is_unreadable_data(
    content: str, digits_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (digits_copy / "dataset.json").write_text(content, encoding="latin-1")
    assert acdc_data("check", digits_copy, monkeypatch=monkeypatch) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(digits_copy / "dataset.json") in err and "acdc-data prepare" in err


def test_a_folder_that_is_not_there_is_missing_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert acdc_data("check", tmp_path / "nowhere", monkeypatch=monkeypatch) == 3
    err = capsys.readouterr().err
    assert str(tmp_path / "nowhere") in err and "acdc-data prepare" in err


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("damage", [truncate, remove])
def test_an_embedded_set_is_made_again(damage: Callable, digits_copy: Path) -> None:
    damage(digits_copy / "train.beton")
    assert check(require_beton(read_dataset(digits_copy))) == []


# The loaders.

LOADERS = [("torch", 0), ("torch", 1), ("torch", 2), ("device", 0), ("ffcv", 0), ("ffcv", 1), ("ffcv", 2)]


@pytest.fixture
def open_as(digits: Dataset, request: pytest.FixtureRequest) -> Iterator[Callable[..., dict[str, Any]]]:
    """``open_as(kind, workers)``: the loaders of the digits, 64 a batch."""
    before = torch.get_num_threads()

    def open_digits(kind: str, workers: int) -> dict[str, Any]:
        if kind == "ffcv":
            request.getfixturevalue("needs_ffcv")
        return open_loaders(kind, digits, workers, torch.device("cpu"))

    yield open_digits
    torch.set_num_threads(before)


@pytest.mark.parametrize(("kind", "workers"), LOADERS)
def test_loaders_give_the_samples_that_are_asked_for(kind: str, workers: int, open_as: Callable) -> None:
    """Images, labels and sample numbers in the given order, the last batch a partial one; then another order."""
    loaders = open_as(kind, workers)
    for split, last in (("train", 1437 % 64), ("val", 360 % 64)):
        images, labels = prepared_digit_pixels(split), digits_split()[split][1]
        loader = loaders[split]
        assert loader.count == len(labels)
        for seed in (0, 1):
            order = np.random.default_rng(seed).permutation(len(labels))
            batches = [(x.clone(), y.clone(), samples) for x, y, samples in loader.batches(in_batches(order, 64))]
            assert [len(batch[0]) for batch in batches] == [64] * (len(labels) // 64) + [last]
            assert all(x.dtype == torch.uint8 and y.dtype == torch.int64 for x, y, _ in batches)
            np.testing.assert_array_equal(torch.cat([x for x, _, _ in batches])[..., 0], images[order])
            np.testing.assert_array_equal(torch.cat([y for _, y, _ in batches]), labels[order])
            np.testing.assert_array_equal(np.concatenate([samples for _, _, samples in batches]), order)


def ffcv_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ffcv")]


def stop_by_break(batches: Iterator) -> None:
    for _ in batches:
        assert ffcv_threads()  # it is there while batches come, so the check below can fail
        break
    batches.close()


def stop_by_error(batches: Iterator) -> None:
    with pytest.raises(ZeroDivisionError), contextlib.closing(batches):
        for _ in batches:
            assert ffcv_threads()
            raise ZeroDivisionError


def stop_before_the_first_batch(batches: Iterator) -> None:
    batches.close()


def stop_at_the_end(batches: Iterator) -> None:
    assert sum(1 for _ in batches) == 23


@pytest.mark.parametrize("stop", [stop_by_break, stop_by_error, stop_before_the_first_batch, stop_at_the_end])
def test_an_ffcv_epoch_that_is_left_leaves_no_thread_and_the_next_one_is_whole(
    stop: Callable, open_as: Callable
) -> None:
    loader = open_as("ffcv", 1)["train"]
    for _ in range(2):
        stop(loader.batches(in_batches(np.arange(1437), 64)))
        assert ffcv_threads() == []
    order = np.arange(1437)[::-1].copy()
    labels = torch.cat([y.clone() for _, y, _ in loader.batches(in_batches(order, 64))])
    np.testing.assert_array_equal(labels, digits_split()["train"][1][::-1])
    assert ffcv_threads() == []


def test_ffcv_leaves_the_number_of_threads_as_it_was(open_as: Callable) -> None:
    """FFCV's own loader sets torch's thread count to its own; the bits of a CPU run depend on it."""
    torch.set_num_threads(3)
    loader = open_as("ffcv", 2)["train"]
    assert {torch.get_num_threads() for _ in loader.batches(in_batches(np.arange(1437), 64))} == {3}


# CIFAR, in the format of the published python archives: pickles of Python 2, protocol 2, every string a byte string;
# data (N, 3072) uint8, a row 1024 red, 1024 green and 1024 blue bytes of a 32 x 32 image, row by row.


class Python2Pickler(pickle._Pickler):
    """Writes str and bytes alike as Python 2 wrote its str."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, text: str | bytes) -> None:
        raw = text.encode("ascii") if isinstance(text, str) else text
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_python2_str


def write_python2_pickle(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Python2Pickler(file, protocol=2).dump(content)
    # NumPy's modules had other names then.
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


def random_images(count: int, seed: int) -> np.ndarray:
    """(count, 32, 32, 3), as they have to come out."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def rows(images: np.ndarray) -> np.ndarray:
    return np.stack([np.concatenate([image[:, :, colour].ravel() for colour in range(3)]) for image in images])


def batch(count: int, seed: int) -> dict[str, Any]:
    labels = [int(label) for label in np.random.default_rng(seed + 100).integers(0, 10, count)]
    names = [f"image_{number}.png" for number in range(count)]
    return {
        "batch_label": f"batch {seed}",
        "labels": labels,
        "data": rows(random_images(count, seed)),
        "filenames": names,
    }


TRAIN_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
CIFAR10 = {name: batch(7, seed) for seed, name in enumerate([*TRAIN_BATCHES, "test_batch"])}


def write_cifar10(folder: Path) -> Path:
    for name, content in CIFAR10.items():
        write_python2_pickle(folder / name, content)
    return folder


def write_cifar100(folder: Path) -> Path:
    for seed, name in enumerate(("train", "test")):
        fine = [13, 98, 0, 55, 21]
        coarse = [label // 5 for label in fine]
        content = {"fine_labels": fine, "coarse_labels": coarse, "data": rows(random_images(5, seed))}
        write_python2_pickle(folder / name, content)
    return folder


def through_a_loader(dataset: Dataset, kind: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    loader = open_loaders(kind, dataset, 1, torch.device("cpu"))[split]
    batches = [(x.clone(), y.clone()) for x, y, _ in loader.batches(in_batches(np.arange(loader.count), 4))]
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


def test_the_source_is_the_archives_folder_or_the_one_that_it_was_unpacked_in(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "unpacked" / "cifar-10-batches-py")
    outer = prepare("cifar10", tmp_path / "unpacked", tmp_path / "outer")
    inner = prepare("cifar10", tmp_path / "unpacked" / "cifar-10-batches-py", tmp_path / "inner")
    assert outer.info["content_hash"] == inner.info["content_hash"]


@pytest.mark.usefixtures("needs_ffcv")
def test_cifar10_comes_back_as_it_was_published(tmp_path: Path) -> None:
    prepare("cifar10", write_cifar10(tmp_path / "source"), tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.classes, dataset.sample_shape) == (10, (3, 32, 32))
    assert (dataset.count("train"), dataset.count("val")) == (35, 7)
    assert dataset.info["source"] == str(tmp_path / "source")
    expected = {
        "train": np.concatenate([random_images(7, seed) for seed in range(5)]),
        "val": random_images(7, 5),
    }
    labels = {
        "train": [label for name in TRAIN_BATCHES for label in CIFAR10[name]["labels"]],
        "val": CIFAR10["test_batch"]["labels"],
    }
    for kind in ("ffcv", "torch", "device"):
        for split in SPLITS:
            images, found = through_a_loader(dataset, kind, split)
            np.testing.assert_array_equal(images, expected[split])
            np.testing.assert_array_equal(found, labels[split])
    assert dataset.info["mean"] == pytest.approx((expected["train"] / 255).mean(axis=(0, 1, 2)).tolist())
    assert dataset.info["std"] == pytest.approx((expected["train"] / 255).std(axis=(0, 1, 2)).tolist())
    assert check(dataset) == []


@pytest.mark.usefixtures("needs_ffcv")
def test_cifar100_has_the_fine_labels_and_100_classes(tmp_path: Path) -> None:
    dataset = prepare("cifar100", write_cifar100(tmp_path / "source"), tmp_path / "out")
    images, labels = through_a_loader(dataset, "ffcv", "val")
    np.testing.assert_array_equal(images, random_images(5, 1))
    assert labels.tolist() == [13, 98, 0, 55, 21]
    assert dataset.classes == 100


def test_a_source_that_has_changed_is_not_read_as_the_one_that_was_prepared(tmp_path: Path) -> None:
    archive = write_cifar10(tmp_path / "source")
    dataset = prepare("cifar10", archive, tmp_path / "out")
    write_python2_pickle(archive / "test_batch", CIFAR10["data_batch_1"])
    with pytest.raises(DataMissing, match="acdc-data prepare cifar10"):
        dataset.read_source()
    shutil.rmtree(archive)
    with pytest.raises(DataMissing, match="acdc-data prepare cifar10"):
        dataset.read_source()


def a_file_is_missing(archive: Path, trap: Path) -> None:
    (archive / "data_batch_4").unlink()


def a_file_is_truncated(archive: Path, trap: Path) -> None:
    path = archive / "data_batch_4"
    os.truncate(path, path.stat().st_size // 2)


def a_file_is_no_pickle(archive: Path, trap: Path) -> None:
    (archive / "data_batch_4").write_bytes(b"<html>404 not found</html>\n")


class RunsACommand:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.system, (f"touch {self.trap}",)


def a_file_asks_for_a_command(archive: Path, trap: Path) -> None:
    armed = pickle.dumps(RunsACommand(trap), protocol=2)
    pickle.loads(armed)
    assert trap.exists()  # the trap works
    trap.unlink()
    (archive / "data_batch_4").write_bytes(armed)


def labels_are_missing(archive: Path, trap: Path) -> None:
    content = {key: value for key, value in CIFAR10["data_batch_4"].items() if key != "labels"}
    write_python2_pickle(archive / "data_batch_4", content)


def a_label_too_few(archive: Path, trap: Path) -> None:
    content = CIFAR10["data_batch_4"]
    write_python2_pickle(archive / "data_batch_4", content | {"labels": content["labels"][1:]})


def a_label_out_of_range(archive: Path, trap: Path) -> None:
    content = CIFAR10["data_batch_4"]
    write_python2_pickle(archive / "data_batch_4", content | {"labels": [10, *content["labels"][1:]]})


def rows_are_too_short(archive: Path, trap: Path) -> None:
    content = CIFAR10["data_batch_4"]
    write_python2_pickle(archive / "data_batch_4", content | {"data": content["data"][:, :3000]})


@pytest.mark.parametrize(
    "fault",
    [
        a_file_is_missing,
        a_file_is_truncated,
        a_file_is_no_pickle,
        a_file_asks_for_a_command,
        labels_are_missing,
        a_label_too_few,
        a_label_out_of_range,
        rows_are_too_short,
    ],
)
def test_a_faulty_archive_is_exit_code_3_and_nothing_is_written(
    fault: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    archive, trap = write_cifar10(tmp_path / "source"), tmp_path / "trap"
    fault(archive, trap)
    assert acdc_data("prepare", "cifar10", "--source", archive, "--out", tmp_path / "out", monkeypatch=monkeypatch) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(archive / "data_batch_4") in err
    assert "acdc-data prepare cifar10" in err
    assert not (tmp_path / "out").exists()
    assert not trap.exists()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_set_that_is_not_embedded_needs_a_source(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=f"acdc-data prepare {name} --source"):
        prepare(name, None, tmp_path / "out")
    with pytest.raises(DataMissing, match=r"nowhere.*acdc-data prepare"):
        prepare(name, tmp_path / "nowhere", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_embedded_set_takes_no_source(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--source"):
        prepare("digits", tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("damage", [truncate, remove])
def test_training_on_a_damaged_beton_is_exit_code_3(
    damage: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "data" / "cifar10"
    prepare("cifar10", write_cifar10(tmp_path / "source"), folder)
    damage(folder / "train.beton")
    monkeypatch.setattr(sys, "argv", ["acdc-train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    typed = [
        "dataset=cifar10",
        "loader=ffcv",
        "device=cpu",
        f"data_dir={folder.parent}",
        f"runs_dir={tmp_path / 'runs'}",
    ]
    assert acdc_train_main(typed) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert str(folder / "train.beton") in err
    assert f"acdc-data prepare cifar10 --source {tmp_path / 'source'} --out {folder}" in err
    assert not (tmp_path / "runs").exists()


FILE_LIMIT_BYTES = 5 * 2**20  # as a full disk: more than a small .beton (two pages of 2 MiB) and less than a large one


@pytest.mark.exhaustive
@pytest.mark.usefixtures("needs_ffcv")
@pytest.mark.parametrize("prepared_before", [False, True])
def test_a_disk_that_fills_up_midway_leaves_what_was_there_before(prepared_before: bool, tmp_path: Path) -> None:
    """train.beton fits, val.beton does not."""
    archive, out = write_cifar10(tmp_path / "source"), tmp_path / "out"
    if prepared_before:
        prepare("cifar10", archive, out)
    before = {path.name: path.read_bytes() for path in out.glob("*")}
    write_python2_pickle(archive / "data_batch_1", batch(7, 50))
    write_python2_pickle(archive / "test_batch", batch(2500, 51))
    process = subprocess.Popen(
        [ACDC_DATA, "prepare", "cifar10", "--source", archive, "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES)),
    )
    try:
        error = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail("acdc-data waits forever for FFCV's writing process, which has died")
    assert process.returncode == 1, error
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before
