"""The command line of acdc-data prepare: what it refuses, what it shows, and who has to wait."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from helpers.image_tree import FOLDERS

from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.source import source_of
from acdc_cli.data.write_options import WriteOptions
from acdc_cli.errors import DataMissing

pytestmark = pytest.mark.usefixtures("needs_ffcv")


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["--max-resolution", "big"], ["--max-resolution big", "none"]),
        (["--jpeg-quality", "0"], ["--jpeg-quality 0", "nearest: --jpeg-quality 1"]),
        (["--raw-share", "1.5"], ["--raw-share 1.5", "nearest: --raw-share 1"]),
        (["--workers", "0"], ["--workers 0", "--workers 1"]),
        (["--jpeg-quality", "good"], ["--jpeg-quality", "good"]),
    ],
)
def test_an_option_that_cannot_be_is_one_line(
    typed: list[str], parts: list[str], image_tree: Path, tmp_path: Path, acdc_data: Callable, capsys
) -> None:
    assert acdc_data("prepare", "imagenet", "--source", image_tree, "--out", tmp_path / "out", *typed) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert [part for part in parts if part not in err] == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_or_nothing_is_no_folder(
    image_tree: Path, tmp_path: Path, acdc_data: Callable, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "file"
    file.touch()
    for source, out, part in (
        (file, tmp_path / "out", f"--source {file}: a file, no folder; nearest: --source {tmp_path}"),
        (image_tree, file, f"--out {file}: a file, no folder"),
        ("", tmp_path / "out", "argument --source: names no folder"),
        (image_tree, "", "argument --out: names no folder"),
    ):
        assert acdc_data("prepare", "imagenet", "--source", source, "--out", out) == 2
        printed, err = capsys.readouterr()
        assert (printed, err.count("\n")) == ("", 1) and part in err
    assert list(tmp_path.iterdir()) == [file]


def test_help_names_each_sets_own_options(acdc_data: Callable, capsys: pytest.CaptureFixture) -> None:
    assert acdc_data("prepare", "--help") == 0
    shown = capsys.readouterr().out
    own = [asdict(source_of(name).data.write) for name in ("imagenet", "patches")]
    for key in own[0]:
        values = ", ".join("none" if write[key] is None else f"{write[key]:g}" for write in own)
        assert f"({values})" in shown.partition(f"  --{key.replace('_', '-')}")[2].partition("  --")[0]


def test_a_command_that_is_shown_can_be_pasted(image_tree: Path, tmp_path: Path) -> None:
    """Blanks are quoted, and options that were typed come back."""
    odd, write = Path(shutil.copytree(image_tree, tmp_path / "my photos")), WriteOptions(None, 90, 0.25)
    again = (
        f"acdc-data prepare imagenet --source '{odd}' --max-resolution none --raw-share 0.25 --out '{tmp_path}/o ut'"
    )
    assert prepare("imagenet", odd, tmp_path / "o ut", write).prepare_command == again
    shutil.rmtree(odd / "val" / sorted(FOLDERS)[0])
    with pytest.raises(DataMissing, match=f"then run {re.escape(again)}$"):
        prepare("imagenet", odd, tmp_path / "o ut", write)


def test_whoever_waits_for_another_preparation_is_told(
    image_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    held = os.open(out, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    waiting = threading.Thread(target=prepare, args=("imagenet", image_tree, out))
    waiting.start()
    said = ""
    while "another process is preparing it; waiting" not in said:
        assert waiting.is_alive()
        said += capsys.readouterr().err
        time.sleep(0.01)
    assert list(out.iterdir()) == []
    os.close(held)
    waiting.join()
    assert read_dataset(out).count("train") == 120


def test_arrays_have_no_such_options(tmp_path: Path, acdc_data: Callable, capsys) -> None:
    assert acdc_data("prepare", "digits", "--out", tmp_path / "out", "--raw-share", "0.5") == 2
    assert "--raw-share" in capsys.readouterr().err and not (tmp_path / "out").exists()
