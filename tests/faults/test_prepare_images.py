"""Preparing image files on a full disk, under signals, with killed processes; files that are not what they say."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.image_tree import write_image_tree
from helpers.support import BIN, environment

from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.image_files import read_tree
from acdc_cli.data.preparing import image_check
from acdc_cli.data.preparing.image_check import check_images
from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.data.write_options import WriteOptions

pytestmark = pytest.mark.usefixtures("needs_ffcv")
JPEG = WriteOptions(None, 90, 0.0)
STAGING = ".preparing"


@pytest.fixture(scope="module")
def large_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2000 images: writing them takes long enough to be interrupted."""
    return write_image_tree(tmp_path_factory.mktemp("large") / "tree", train=100, val=100)


def start(source: Path, out: Path, *options: str, limit_bytes: int = resource.RLIM_INFINITY) -> subprocess.Popen:
    """acdc-data prepare in a session of its own, with a limit on file size: as a full disk, it fails a write."""
    return subprocess.Popen(
        [str(BIN / "acdc-data"), "prepare", "imagenet", "--source", source, "--out", out, "--workers", "2", *options],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )


def end(process: subprocess.Popen, timeout: float = 120) -> tuple[int, str, str]:
    """(exit code, stdout, stderr); a process that does not end is killed with all it started."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail("acdc-data waits forever")
    left = {child: Path(f"/proc/{child}/cmdline").read_text() for child in children_of_session(process.pid)}
    assert not left
    return process.returncode, out, err


def children_of_session(session: int) -> list[int]:
    """Its writing processes that still run. Python's own resource tracker ends by itself, a moment after the others."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != session:
            try:
                state, _, _, member_of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                command = (entry / "cmdline").read_bytes()  # empty: it is ending
            except OSError:
                continue  # it has just ended
            if int(member_of) == session and state != "Z" and command and b"resource_tracker" not in command:
                found.append(int(entry.name))
    return found


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.exhaustive
@pytest.mark.parametrize("prepared_before", [False, True])
@pytest.mark.parametrize(
    ("limit_bytes", "file"),
    [
        (10_000, "train.checked"),
        (400_000, "train.beton"),
        (12 * 2**20, "val.beton"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    limit_bytes: int, file: str, prepared_before: bool, large_tree: Path, image_tree: Path, tmp_path: Path
) -> None:
    """Training images are the fewer here, so that 12 MiB are enough for them."""
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(large_tree, source)
    if file == "val.beton":
        shutil.rmtree(source / "train")
        shutil.copytree(image_tree / "train", source / "train")
    if prepared_before:
        prepare("imagenet", image_tree, out, JPEG)
    before = contents(out)
    code, printed, err = end(start(source, out, "--raw-share", "1", limit_bytes=limit_bytes))
    assert (code, printed, err.count("\n")) == (1, "", 1), err
    assert f"{file}: File too large" in err
    assert contents(out) == before
    assert out.exists() == prepared_before


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_preparation_goes_on_where_it_was(number: int, large_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(large_tree, out)
    wait_for(out / STAGING / "train.written", process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to every process
    else:
        process.send_signal(number)
    code, printed, err = end(process)
    assert (code, printed, err.count("\n")) == (75, "", 1), err
    assert "interrupted" in err and str(out) in err
    left = {path.name for path in (out / STAGING).iterdir()}
    assert [path.name for path in out.iterdir()] == [STAGING]  # nothing that could be taken for a data set
    assert {"train.checked", "val.checked", "train.beton", "train.written"} <= left and "val.written" not in left
    written = (out / STAGING / "train.beton").stat().st_ino
    assert end(start(large_tree, out))[0] == 0
    assert (out / "train.beton").stat().st_ino == written  # renamed, not written again
    assert not (out / STAGING).exists()
    fresh = prepare("imagenet", large_tree, tmp_path / "fresh")
    assert read_dataset(out).info["content_hash"] == fresh.info["content_hash"]
    assert end(check(out))[0] == 0


def check(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [str(BIN / "acdc-data"), "check", folder, "--source"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.exhaustive
def test_a_killed_preparation_is_no_data_set_and_can_be_repeated(large_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(large_tree, out)
    wait_for(out / STAGING / "train.beton", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert end(check(out))[0] == 3
    with (out / STAGING / "train.checked").open("a") as file:
        file.write('["train/n01440764/cut')  # as a crash leaves a line
    assert end(start(large_tree, out))[0] == 0
    assert end(check(out))[0] == 0


@pytest.mark.exhaustive
def test_a_killed_writing_process_ends_it_with_one_line(large_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(large_tree, out)
    wait_for(out / STAGING / "train.beton", process)
    while len(workers := children_of_session(process.pid)) < 2:  # the tracker looks like one until it has started
        assert process.poll() is None
    os.kill(max(workers), signal.SIGKILL)
    code, printed, err = end(process)
    assert (code, printed, err.count("\n")) == (1, "", 1), err
    assert "train.beton" in err and "-9" in err
    assert not out.exists()


def test_what_was_checked_is_not_checked_again(
    image_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path(shutil.copytree(image_tree, tmp_path / "tree"))
    journal, read, done = tmp_path / "checked", [], []
    real = image_check.image_facts

    def counted(root: Path, path: str) -> image_check.FileFacts:
        read.append(path)
        return real(root, path)

    monkeypatch.setattr(image_check, "image_facts", counted)
    files = read_tree(tree, "")["train"]
    first = check_images(files, journal, 2, done.append)
    assert sorted(read) == sorted(files.paths) and sum(done) == len(files.paths)
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:50]) + '["train/cut')
    (tree / files.paths[3]).write_bytes((tree / files.paths[4]).read_bytes())
    known = {line.split('"')[1] for line in journal.read_text().splitlines()[:50]} - {files.paths[3]}
    read.clear()
    again = check_images(files, journal, 2, done.append)
    assert sorted(read) == sorted(set(files.paths) - known)
    assert [one for path, one in zip(files.paths, again, strict=True) if path != files.paths[3]] == [
        one for path, one in zip(files.paths, first, strict=True) if path != files.paths[3]
    ]
    assert again[3].sha256 == first[4].sha256


def truncate(out: Path, foreign: Path) -> None:
    os.truncate(out / "train.beton", (out / "train.beton").stat().st_size // 2)


def replace_by_another_sets(out: Path, foreign: Path) -> None:
    shutil.copy(foreign / "val.beton", out / "train.beton")


def replace_by_something_else_of_that_size(out: Path, foreign: Path) -> None:
    path = out / "train.beton"
    path.write_bytes(b"PK\x03\x04" * (path.stat().st_size // 4) + b"x" * (path.stat().st_size % 4))


def lose_the_table_at_the_end(out: Path, foreign: Path) -> None:
    """As large as it was, with the place of the table moved."""
    path = out / "train.beton"
    content = bytearray(path.read_bytes())
    content[16:24] = (len(content) // 2).to_bytes(8, "little")  # alloc_table_ptr of FFCV's header
    path.write_bytes(content)


def remove(out: Path, foreign: Path) -> None:
    (out / "train.beton").unlink()


DAMAGES = [
    truncate,
    replace_by_another_sets,
    replace_by_something_else_of_that_size,
    lose_the_table_at_the_end,
    remove,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_beton_that_is_none_is_exit_code_3_before_anything_is_trained(
    damage: Callable, image_tree: Path, tmp_path: Path, program: Callable, acdc_data: Callable
) -> None:
    out = tmp_path / "data" / "imagenet"
    prepare("imagenet", image_tree, out, JPEG)
    damage(out, out)
    ended = program("dataset=imagenet", "loader=ffcv", "device=cpu", "tracker=none", "threads=1")
    assert ended.returncode == 3, ended.stderr
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert "imagenet/train.beton:" in last and f"acdc-data prepare imagenet --source {image_tree}" in last
    assert not (tmp_path / "runs").exists()
    assert acdc_data("check", out) == 3
