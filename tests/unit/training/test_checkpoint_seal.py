"""A checkpoint that is not what was written is noticed: a flipped bit, a cut, a lost sum, a part that does not fit."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from acdc_cli.config.compose import compose_config
from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.errors import AcdcError
from acdc_cli.planning.settle import settle
from acdc_cli.records.files import Damaged
from acdc_cli.training.build import build_run
from acdc_cli.training.checkpoint import load_checkpoint, restore, save_checkpoint
from acdc_cli.training.run import Run

SMALL = {"run_id": "01234567", "run": {"w": torch.tensor([1.0, -2.0]), "rows": [{"epoch": 0}]}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.pt", SMALL)
    return tmp_path / "last.pt"


def test_plain_torch_reads_it_and_its_last_64_characters_are_the_sum_of_the_rest(saved: Path) -> None:
    for options in ({}, {"mmap": True}):
        state = torch.load(saved, weights_only=True, **options)
        assert state["run_id"] == "01234567" and state["run"]["w"].tolist() == [1.0, -2.0]
    content = saved.read_bytes()
    marked = len(content) - 64
    assert content[:marked].endswith(b"\nacdc-sha256:")
    rest = content[: marked - len(b"\nacdc-sha256:")]
    assert content[marked:].decode() == hashlib.sha256(rest).hexdigest()


def test_one_flipped_bit_anywhere_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    load_checkpoint(saved, "01234567")
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        saved.write_bytes(damaged)
        with pytest.raises(Damaged) as noticed:
            load_checkpoint(saved, "01234567")
        assert str(noticed.value).startswith(f"{saved}: damaged (") and "\n" not in str(noticed.value)


def test_a_file_cut_anywhere_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(Damaged):
            load_checkpoint(saved, "01234567")


def test_what_is_no_checkpoint_is_one_line(saved: Path) -> None:
    content = saved.read_bytes()
    for other in (b"", b"null", b"{}", os.urandom(4096), content + b"x", content[:100] + content):
        saved.write_bytes(other)
        with pytest.raises(Damaged) as noticed:
            load_checkpoint(saved, "01234567")
        assert "\n" not in str(noticed.value)
    saved.unlink()
    saved.mkdir()
    with pytest.raises(Damaged, match="Is a directory"):
        load_checkpoint(saved, "01234567")


def test_a_checkpoint_written_anew_without_its_sum_is_not_used(saved: Path) -> None:
    """As by someone who has edited it: what else has changed nobody knows."""
    torch.save(torch.load(saved, weights_only=True), saved)
    with pytest.raises(Damaged, match="its SHA-256 has been removed"):
        load_checkpoint(saved, "01234567")


def test_one_of_an_older_version_is_read_and_damage_to_its_tensors_noticed(saved: Path) -> None:
    """It has no SHA-256, but its zip archive has a CRC-32 of each tensor."""
    torch.save(SMALL, saved)
    assert load_checkpoint(saved, "01234567")["run"]["rows"] == [{"epoch": 0}]
    content = bytearray(saved.read_bytes())
    content[content.index(torch.tensor([1.0, -2.0]).numpy().tobytes())] ^= 1
    saved.write_bytes(content)
    with pytest.raises(Damaged, match="CRC-32"):
        load_checkpoint(saved, "01234567")


def test_the_one_before_is_kept_and_the_last_one_is_there_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    replace, there = os.replace, list[bool]()

    def watched(source: Path, target: Path) -> None:
        there.append(last.is_file())
        replace(source, target)
        there.append(last.is_file())

    save_checkpoint(last, SMALL | {"run": {"at": 0}}, previous)
    assert not previous.exists()
    monkeypatch.setattr(os, "replace", watched)
    for at in (1, 2):
        save_checkpoint(last, SMALL | {"run": {"at": at}}, previous)
        assert load_checkpoint(last, "01234567")["run"] == {"at": at}
        assert load_checkpoint(previous, "01234567")["run"] == {"at": at - 1}
    assert all(there) and sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_without_hard_links_both_are_kept_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    for at in (0, 1):
        save_checkpoint(tmp_path / "last.pt", SMALL | {"run": {"at": at}}, tmp_path / "previous.pt")
    assert load_checkpoint(tmp_path / "last.pt", "01234567")["run"] == {"at": 1}
    assert load_checkpoint(tmp_path / "previous.pt", "01234567")["run"] == {"at": 0}


@pytest.fixture(scope="module")
def run(data_dir: Path) -> Run:
    """A small run after a step in its last phase: masks, momentum, and a dense model are there."""
    typed = ["model.width=2", "precision=fp32", "epochs=4", "threads=1", "loader=device", "device=cpu"]
    config = settle(compose_config([*typed, f"data_dir={data_dir}"]), print)
    run = build_run(config, open_dataset("digits", data_dir))
    for epoch in range(4):
        run.method.begin_epoch(epoch)
    for parameter in run.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    return run


def edited(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one part replaced; ``...`` takes it out."""
    state = copy.deepcopy(state)
    node: Any = state
    *groups, leaf = path.split("/")
    for group in groups:
        node = node[int(group) if isinstance(node, list) or group.isdigit() else group]
    if value is ...:
        del node[leaf]
    else:
        node[int(leaf) if isinstance(node, list) else leaf] = value
    return state


PARTS = ("model", "optimizer", "scaler", "method", "rows", "data")
OTHERS = (None, "text", 3, [1], {"a": 1})
ROW = {"epoch": 0, "phase": "dense"}
VARIANTS: list[tuple[str, Any]] = [
    *((part, ...) for part in PARTS),
    *((part, other) for part in PARTS for other in OTHERS if (part, type(other)) not in (("scaler", dict),)),
    *(("part", other) for other in OTHERS[1:]),
    *(("extra_flops", other) for other in ("text", None, [1])),
    *(("rows", rows) for rows in ([None], [ROW], [ROW] * 5, ["x"])),
    *(("model/conv1.weight", value) for value in (..., None, torch.zeros(3), "text")),
    *((f"optimizer/{key}", value) for key in ("state", "param_groups") for value in (..., None, [], "text")),
    *(("optimizer/param_groups/0/lr", value) for value in ("text", [1])),
    ("optimizer/state/0/momentum_buffer", torch.zeros(3)),
    *((f"method/{key}", ...) for key in ("phase_start", "masks", "is_sparse", "has_masks", "dense_state")),
    *(("method/masks", value) for value in ({}, [1], "text")),
    *(("method/masks/conv1.weight", value) for value in (torch.zeros(1, dtype=torch.uint8), "text")),
    *(("method/dense_state", value) for value in ({}, "text", [1])),
    ("method/dense_state/conv1.weight", torch.zeros(3)),
]


@pytest.mark.parametrize("save", [save_checkpoint, lambda path, state: torch.save(state, path)], ids=["sum", "no sum"])
def test_a_part_that_is_missing_or_does_not_fit_is_named(
    save: Callable[[Path, dict[str, Any]], None], run: Run, tmp_path: Path
) -> None:
    path, state = tmp_path / "last.pt", run.state_dict()
    save(path, {"run_id": "01234567", "run": state})
    restore(path, "01234567", run.load_state_dict)
    for part, value in VARIANTS if save is save_checkpoint else VARIANTS[:12]:
        save(path, {"run_id": "01234567", "run": edited(state, part, value)})
        with pytest.raises(AcdcError) as refused:
            restore(path, "01234567", run.load_state_dict)
        is_other_data = part == "data" and isinstance(value, (list, str))
        assert is_other_data or isinstance(refused.value, Damaged), (part, value)
        assert "\n" not in str(refused.value)
    for content in ({}, {"run_id": "01234567"}, {"run_id": "01234567", "run": None}, {"run": state}, [], None, "text"):
        torch.save(content, path)
        with pytest.raises(Damaged):
            restore(path, "01234567", run.load_state_dict)
