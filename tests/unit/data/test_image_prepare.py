"""From a folder tree of photographs to a data set's folder: what is written, recorded, skipped and noticed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.image_tree import FOLDERS
from PIL import Image

from acdc_cli.data.dataset import Dataset, read_dataset
from acdc_cli.data.preparing.check import check
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing

pytestmark = pytest.mark.usefixtures("needs_ffcv")
SPLITS = ("train", "val")
JPEG, RAW = WriteOptions(None, 90, 0.0), WriteOptions(None, 90, 1.0)


@pytest.fixture
def tree(image_tree: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(image_tree, tmp_path / "tree"))


@pytest.fixture(scope="module")
def prepared(image_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare("imagenet", image_tree, tmp_path_factory.mktemp("prepared") / "imagenet", None, 2)


def stored(dataset: Dataset, split: str) -> list[tuple[bool, np.ndarray, int]]:
    """(kept as pixels?, RGB pixels, label) of every sample, by FFCV's published file format and OpenCV's decoder."""
    from ffcv.reader import Reader

    reader = Reader(str(dataset.beton(split)))
    content = dataset.beton(split).read_bytes()
    sizes = {int(entry["ptr"]): int(entry["size"]) for entry in reader.alloc_table}
    samples = []
    for image, label in reader.metadata:
        start = int(image["data_ptr"])
        data = np.frombuffer(content[start : start + sizes[start]], np.uint8)
        if image["mode"]:
            pixels = data.reshape(image["height"], image["width"], 3)
        else:
            pixels = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            assert pixels.shape == (image["height"], image["width"], 3)
        samples.append((bool(image["mode"]), pixels, int(np.frombuffer(label.tobytes(), np.int64)[0])))
    return samples


def sources(tree: Path, split: str) -> list[tuple[str, int, Path]]:
    """(relative path, label, file) of every sample, sorted by class, then name."""
    found = [
        (f"{split}/{name}/{path.name}", label, path)
        for label, name in enumerate(sorted(FOLDERS))
        for path in (tree / split / name).iterdir()
    ]
    return sorted(found, key=lambda item: (item[1], item[0]))


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_dataset_json_says_what_the_folder_holds(prepared: Dataset, image_tree: Path) -> None:
    info = json.loads((prepared.folder / "dataset.json").read_text())
    assert info == prepared.info == read_dataset(prepared.folder).info
    assert sorted(path.name for path in prepared.folder.iterdir()) == [
        "dataset.json",
        "train.beton",
        "train.tsv",
        "val.beton",
        "val.tsv",
    ]
    assert (info["name"], info["kind"], info["classes"], info["channels"]) == ("imagenet", "files", 10, 3)
    assert (info["size"], info["source"]) == (None, str(image_tree))
    assert info["class_names"] == sorted(FOLDERS)
    assert info["write"] == {"max_resolution": 500, "jpeg_quality": 90, "raw_share": 0.5}
    assert (info["mean"], info["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for split, count in (("train", 120), ("val", 40)):
        assert (info[split]["count"], info[split]["skipped"]) == (count, {})
        lines = (prepared.folder / info[split]["samples"]).read_text()
        assert lines == "".join(f"{path}\t{label}\n" for path, label, _ in sources(image_tree, split))


def test_content_hash_is_of_paths_labels_and_files(prepared: Dataset, image_tree: Path) -> None:
    for split in SPLITS:
        digest = hashlib.sha256()
        for path, label, file in sources(image_tree, split):
            digest.update(f"{path}\t{label}\t{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        assert prepared.info[split]["content_sha256"] == digest.hexdigest()


def test_sample_i_of_the_beton_is_line_i_of_the_list(prepared: Dataset, image_tree: Path) -> None:
    """Half are kept as pixels, equal to the source's; the others differ by what JPEG at quality 90 costs."""
    kept = []
    for split in SPLITS:
        for (raw, pixels, label), (_, expected_label, file) in zip(
            stored(prepared, split), sources(image_tree, split), strict=True
        ):
            assert label == expected_label
            difference = np.abs(pixels.astype(int) - pixels_of(file)).mean()
            assert difference == 0 if raw else difference < 5
            kept.append(raw)
    assert np.mean(kept) == pytest.approx(0.5, abs=0.12)  # 160 draws: three standard deviations


def test_any_number_of_workers_stores_the_same_samples(prepared: Dataset, image_tree: Path, tmp_path: Path) -> None:
    alone = prepare("imagenet", image_tree, tmp_path / "alone", None, 1)
    assert alone.info["content_hash"] == prepared.info["content_hash"]
    for split in SPLITS:
        for (raw, pixels, label), (raw_too, pixels_too, label_too) in zip(
            stored(alone, split), stored(prepared, split), strict=True
        ):
            assert (raw, label) == (raw_too, label_too)
            np.testing.assert_array_equal(pixels, pixels_too)


def test_options_are_followed_and_recorded(image_tree: Path, tmp_path: Path, acdc_data: Callable) -> None:
    typed = ["--max-resolution", 64, "--jpeg-quality", 40, "--raw-share", 0, "--workers", 2]
    assert acdc_data("prepare", "imagenet", "--source", image_tree, "--out", tmp_path / "out", *typed) == 0
    dataset = read_dataset(tmp_path / "out")
    assert dataset.info["write"] == {"max_resolution": 64, "jpeg_quality": 40, "raw_share": 0.0}
    for (raw, pixels, _), (_, _, file) in zip(stored(dataset, "val"), sources(image_tree, "val"), strict=True):
        expected = pixels_of(file)
        height, width = expected.shape[:2]
        ratio = min(1.0, 64 / max(height, width))
        assert not raw and pixels.shape == (int(ratio * height), int(ratio * width), 3)
    assert "--max-resolution 64 --jpeg-quality 40 --raw-share 0.0" in dataset.prepare_command
    assert check(dataset) == []


def damage(tree: Path) -> dict[str, str]:
    """Four files that cannot be read, in either split: relative path -> what happened to it."""
    done = {}
    folder = sorted(FOLDERS)[2]
    files = sorted((tree / "train" / folder).iterdir())
    os.truncate(files[0], files[0].stat().st_size // 2)
    files[1].write_bytes(b"")
    files[2].write_text("<html>404</html>")
    other = sorted((tree / "val" / folder).iterdir())[0]
    os.truncate(other, other.stat().st_size - 40)
    for path, what in ((files[0], "cut"), (files[1], "empty"), (files[2], "text"), (other, "cut a little")):
        done[path.relative_to(tree).as_posix()] = what
    return done


def test_unreadable_images_are_left_out_and_named(
    tree: Path, tmp_path: Path, acdc_data: Callable, capsys: pytest.CaptureFixture
) -> None:
    damaged = damage(tree)
    assert acdc_data("prepare", "imagenet", "--source", tree, "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert all(path in out for path in damaged) and "4 unreadable images" in out
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.count("train"), dataset.count("val")) == (117, 39)
    named = {path: why for split in SPLITS for path, why in dataset.info[split]["skipped"].items()}
    assert named.keys() == damaged.keys() and all(named.values())
    assert "truncated" in named[next(path for path, what in damaged.items() if what == "cut")]
    for split in SPLITS:
        left = [item for item in sources(tree, split) if item[0] not in damaged]
        assert dataset.read_files()[split].paths == [path for path, _, _ in left]
        assert [label for _, _, label in stored(dataset, split)] == [label for _, label, _ in left]
    assert acdc_data("check", tmp_path / "out", "--source") == 0


def test_odd_images_are_no_damage(tree: Path, tmp_path: Path) -> None:
    """ILSVRC holds a PNG and CMYK images under the name .JPEG."""
    folder = sorted((tree / "train" / sorted(FOLDERS)[0]).iterdir())
    with Image.open(folder[0]) as image:
        for path, mode, kind in ((folder[0], "RGB", "PNG"), (folder[1], "CMYK", "JPEG"), (folder[2], "L", "JPEG")):
            changed = io.BytesIO()
            image.convert(mode).save(changed, kind)
            path.write_bytes(changed.getvalue())
    dataset = prepare("imagenet", tree, tmp_path / "out", RAW)
    assert dataset.info["train"]["skipped"] == {}
    for (_, pixels, _), (_, _, file) in zip(stored(dataset, "train")[:3], sources(tree, "train")[:3], strict=True):
        np.testing.assert_array_equal(pixels, pixels_of(file))


def test_a_class_without_a_readable_image_is_refused(tree: Path, tmp_path: Path) -> None:
    name = sorted(FOLDERS)[4]
    for path in (tree / "val" / name).iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataMissing, match=rf"val/{name}: none of its images can be read"):
        prepare("imagenet", tree, tmp_path / "out", JPEG)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("prepared_before", [False, True])
def test_a_tree_that_is_refused_leaves_what_was_there(
    prepared_before: bool, tree: Path, tmp_path: Path, acdc_data: Callable, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    if prepared_before:
        prepare("imagenet", tree, out, JPEG)
    before = {path.name: path.read_bytes() for path in out.glob("*")}
    name = sorted(FOLDERS)[6]
    shutil.rmtree(tree / "val" / name)
    capsys.readouterr()
    assert acdc_data("prepare", "imagenet", "--source", tree, "--out", out) == 3
    printed, err = capsys.readouterr()
    assert (printed, err.count("\n")) == ("", 1)
    assert f"class {name}" in err and f"acdc-data prepare imagenet --source {tree} --out {out}" in err
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before
    assert out.exists() == prepared_before


def remove_an_image(source: Path, folder: Path) -> None:
    sources(source, "train")[7][2].unlink()


def replace_an_image(source: Path, folder: Path) -> None:
    items = sources(source, "train")
    items[7][2].write_bytes(items[100][2].read_bytes())


def edit_the_list(source: Path, folder: Path) -> None:
    path = folder / "train.tsv"
    path.write_text(path.read_text().replace("\t0\n", "\t1\n", 1))


def remove_the_list(source: Path, folder: Path) -> None:
    (folder / "train.tsv").unlink()


def remove_the_source(source: Path, folder: Path) -> None:
    shutil.rmtree(source)


@pytest.mark.parametrize(
    "change", [remove_an_image, replace_an_image, edit_the_list, remove_the_list, remove_the_source]
)
def test_a_source_that_has_changed_is_not_read(change: Callable, tree: Path, tmp_path: Path) -> None:
    dataset = prepare("imagenet", tree, tmp_path / "out", JPEG)
    assert [len(dataset.read_files()[split].paths) for split in SPLITS] == [120, 40]
    change(tree, dataset.folder)
    with pytest.raises(DataMissing, match=f"acdc-data prepare imagenet --source {tree}"):
        dataset.read_files()


def test_check_reads_images_when_asked(tree: Path, tmp_path: Path) -> None:
    """A change that keeps every size shows only then; the .beton is not concerned."""
    dataset = prepare("imagenet", tree, tmp_path / "out", JPEG)
    path = sources(tree, "val")[3][2]
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    assert check(dataset) == []
    (fault,) = check(dataset, read_images=True)
    assert str(tree / "val") in fault


def test_a_source_that_is_gone_is_no_fault_of_the_betons(tree: Path, tmp_path: Path) -> None:
    dataset = prepare("imagenet", tree, tmp_path / "out", JPEG)
    shutil.rmtree(tree)
    assert check(dataset) == []
    assert len(check(dataset, read_images=True)) == 1


def test_without_ffcv_the_list_is_all_there_is(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the .beton files of an earlier preparation, which it no longer describes, are removed."""
    with_ffcv = prepare("imagenet", image_tree, tmp_path / "out", JPEG)
    monkeypatch.setattr("acdc_cli.data.preparing.prepare_images.ffcv_problem", lambda: "ImportError: libGL.so.1")
    dataset = prepare("imagenet", image_tree, tmp_path / "out", JPEG)
    assert sorted(path.name for path in dataset.folder.iterdir()) == ["dataset.json", "train.tsv", "val.tsv"]
    assert dataset.info["content_hash"] == with_ffcv.info["content_hash"]
    assert (dataset.info["beton_bytes"], dataset.info["beton_sha256"]) == (None, None)
    assert len(dataset.read_files()["train"].paths) == 120
    assert check(dataset) == []
    sources_before = with_ffcv.read_files()["val"]
    assert sources_before.paths == dataset.read_files()["val"].paths


def test_work_on_other_images_is_not_gone_on_with(image_tree: Path, tree: Path, tmp_path: Path) -> None:
    """What an interrupted preparation left is of the source that it was told."""
    staging = tmp_path / "out" / ".preparing"
    staging.mkdir(parents=True)
    (staging / "source").write_text(f"imagenet {tree}")
    (staging / "train.checked").write_text("damaged\n")
    assert prepare("imagenet", image_tree, tmp_path / "out", JPEG).count("train") == 120
