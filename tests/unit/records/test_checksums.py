"""checksums.json: each file's SHA-256, and the moment in which a file and its sum are replaced one after the other."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest

from acdc_cli.records.checksums import Checksums
from acdc_cli.records.files import NUMBER, Damaged, Shape, parse_object, read_object
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.tensor_header import whole_length_problem


def write(content: str):
    return lambda path: path.write_text(content)


def test_the_record_is_what_sha256sum_prints(tmp_path: Path) -> None:
    sums = Checksums(tmp_path)
    sums.replace(tmp_path / "a.json", write("old"))
    sums.replace(tmp_path / "models" / "b", write("other"))
    sums.replace(tmp_path / "a.json", write("new"))
    assert json.loads((tmp_path / "checksums.json").read_text()) == {
        "a.json": hashlib.sha256(b"new").hexdigest(),
        "models/b": hashlib.sha256(b"other").hexdigest(),
    }


def test_a_kill_between_a_file_and_its_sum_is_told_from_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the first, second or third rename, the file has its old or its new content: both are good."""
    path, sums, replace = tmp_path / "a.json", Checksums(tmp_path), os.replace
    for killed_at, content in ((1, "old"), (2, "old"), (3, "new")):
        sums.replace(path, write("old"))
        renames = 0

        def killing(source: Path, target: Path, killed_at: int = killed_at) -> None:
            nonlocal renames
            renames += 1
            if renames == killed_at:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", killing)
            sums.replace(path, write("new"))
        assert path.read_text() == content
        sums.check(path)
        for damage in ("", "nev", "olc"):
            path.write_text(damage)
            with pytest.raises(Damaged, match="SHA-256"):
                sums.check(path)


def test_a_file_without_a_sum_passes_and_gets_one_when_it_is_written(tmp_path: Path) -> None:
    path, sums = tmp_path / "a.json", Checksums(tmp_path)
    path.write_text("of an older version")
    sums.check(path)
    sums.replace(path, write("new"))
    path.write_text("damage")
    with pytest.raises(Damaged):
        sums.check(path)
    sums.forget(path)
    sums.check(path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"a": 3}', b'{"a": null}', b'{"a": [1]}', b"[" * 10**5]
)
def test_a_damaged_record_of_sums_is_named_and_written_anew(content: bytes, tmp_path: Path) -> None:
    sums, path = Checksums(tmp_path), tmp_path / "a"
    (tmp_path / "checksums.json").write_bytes(content)
    with pytest.raises(Damaged, match=r"checksums\.json: damaged \("):
        sums.check(path)
    sums.replace(path, write("new"))
    assert json.loads((tmp_path / "checksums.json").read_text()) == {"a": hashlib.sha256(b"new").hexdigest()}


SHAPE: Shape = {
    **{"number": NUMBER, "whole": int, "word": frozenset({"dense", "sparse"}), "maybe": ({"top1": NUMBER}, None)},
    **{"absent?": str, "each": {"*": NUMBER}},
}
GOOD = {"number": 0.5, "whole": 3, "word": "dense", "maybe": None, "each": {"a": 1}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": "0.5"}, "number is text"),
        ({"number": True}, "number is true or false"),
        ({"whole": 0.5}, "whole is a number"),
        ({"word": "dens"}, "word is none of dense, sparse"),
        ({"word": 3}, "word is a number"),
        ({"maybe": {}}, "it has no maybe.top1"),
        ({"maybe": {"top1": None}}, "maybe.top1 is null"),
        ({"maybe": [1]}, "maybe is a list, not a dictionary"),
        ({"absent": 3}, "absent is a number"),
        ({"each": {"a": 1, "b": "2"}}, "each.b is text"),
        ({"each": []}, "each is a list, not a dictionary"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for good in (GOOD, GOOD | {"maybe": {"top1": 1}}, GOOD | {"absent": "there", "more": [None]}):
        path.write_text(json.dumps(good))
        assert read_object(path, SHAPE) == good
    path.write_text(json.dumps(GOOD | change))
    with pytest.raises(Damaged) as refused:
        read_object(path, SHAPE, "write it again")
    assert str(refused.value) == f"{path}: damaged ({said}); write it again"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Expecting value"),
        (b"null", "it is null, not a dictionary"),
        (b"[]", "it is a list, not a dictionary"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"[" * 10**5, "nested too deeply"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "1e999 is too large a number"),
    ],
)
def test_what_is_not_a_json_object_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_object(content, {})


def test_the_length_of_a_safetensors_file_is_known_from_its_header(tmp_path: Path) -> None:
    """Written by hand from the format's description: 8 bytes, a header of that length, 4 bytes of one tensor."""
    header = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    whole = len(header).to_bytes(8, "little") + header + b"\x01\x02\x03\x04"
    path = tmp_path / "a.safetensors"
    assert whole_length_problem(path) == "missing"
    path.write_bytes(whole)
    assert whole_length_problem(path) is None
    for wrong in (whole[:-1], whole + b"x"):
        path.write_bytes(wrong)
        assert whole_length_problem(path) == f"{len(wrong)} bytes instead of {len(whole)}"
    for wrong in (
        b"",
        b"\xff" * 8,
        whole[:20],
        (9).to_bytes(8, "little") + b"[1,2,3,4]",
        (2).to_bytes(8, "little") + b"{]",
    ):
        path.write_bytes(wrong)
        assert whole_length_problem(path)


def test_one_rank_can_tell_the_others_of_damage() -> None:
    told = pickle.loads(pickle.dumps(Damaged(Path("a"), "cut short", "write it again")))
    assert (str(told), told.path) == ("a: damaged (cut short); write it again", Path("a"))


def test_clear_removes_whatever_lies_there(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.status.mkdir(parents=True)
    (run.status / "inside").touch()
    run.config.mkdir()
    (run.path / "checkpoints").write_text("a file where a folder should be")
    (run.path / "models").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    run.clear()
    assert list(run.path.iterdir()) == [] and (tmp_path / "kept").is_file()
