"""Short runs of every method have the bits, or on another kind of machine the numbers, that they had before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_digests import DIGESTS, RUNS, digest, figures, machine, make

from acdc_cli.data.preparing.prepare import prepare
from acdc_cli.records.folder import RunFolder

KNOWN = json.loads(DIGESTS.read_text())
# The others are compared in `make test-all`: one of each kind is enough to notice that numbers have moved.
IN_SHORT = ("digits-acdc", "digits-rigl", "digits-top_kast", "digits-sparse_vd", "digits-acdc-2-4", "digits-finetuned")
CASES = [pytest.param(name, marks=() if name in IN_SHORT else pytest.mark.exhaustive) for name in RUNS]
START = "digits-acdc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digests")


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, RunFolder]:
    """The runs that others start from."""
    prepare("digits", None, folder / "data" / "digits")
    return {START: make(START, {}, folder / START, folder / "data")}


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_what_it_was(name: str, folder: Path, made: dict[str, RunFolder]) -> None:
    if name.startswith("patches"):
        prepare("patches", None, folder / "data" / "patches")
    run = made.get(name) or make(name, made, folder / name, folder / "data")
    if KNOWN["machine"] == machine():
        assert digest(run) == KNOWN["runs"][name]["sha256"]
    elif "precision=fp64" in RUNS[name]:
        for row, before in zip(figures(run), KNOWN["runs"][name]["figures"], strict=True):
            assert row == pytest.approx(before, rel=1e-4, abs=1e-4)


def test_the_known_runs_are_these() -> None:
    assert KNOWN["runs"].keys() == RUNS.keys()
