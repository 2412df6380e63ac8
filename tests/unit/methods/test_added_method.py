"""A method that is added is in the tests of every method without being named: here it comes from a plug-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from helpers.every_method import every_method, from_defaults, sparse_methods
from helpers.parts import own_parts
from helpers.small_runs import OPTIMIZERS, small_net
from helpers.support import environment

from acdc_cli.plugins import load_plugins

TESTS = Path(__file__).resolve().parents[1]
LOTTERY = """
from dataclasses import dataclass
from pathlib import Path

import acdc_cli
from acdc_cli.config.command_line import add_config_dir
from acdc_cli.methods import Expected
from acdc_cli.options import number
from acdc_cli.sparsity.work import sparse_work


@acdc_cli.register_method("lottery")
@dataclass(kw_only=True)
class Lottery:
    ticket: int = number(0)

    def build(self, setting):
        from acdc_cli.sparsity.methods import random_static

        return random_static(setting.target, seed=setting.seed + self.ticket)

    def expected(self, setting, epoch, sparse):
        return Expected(sparse_work(), sparse)


add_config_dir(Path(__file__).parent / "conf")
"""
# The product that a file has -> the fewest cases of one method that it holds.
PRODUCTS = {
    "unit/test_every_method.py": 14,  # optimizers, restarts, copies, detaching
    "invariants/test_methods_pairwise.py": 5,  # spreads, precisions, ranks
    "invariants/test_methods_on_two_ranks.py": 2,
    "runs/test_methods.py": 2,  # sparsity, plan, crash
    "runs/test_methods_resumed.py": 1,
    "runs/test_second_task.py": 1,
}


@pytest.fixture
def lottery(tmp_path: Path) -> Path:
    """A plug-in with a method of one key."""
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "lottery.yaml").write_text("name: lottery\nticket: 7\n")
    path = tmp_path / "lottery.py"
    path.write_text(LOTTERY)
    return path


def test_its_case_is_built_from_the_defaults_of_its_yaml_file(lottery: Path) -> None:
    with own_parts():
        load_plugins([str(lottery)])
        cases = every_method({}, lambda name: lambda: from_defaults(name, 0.75, steps=4, epochs=5))
        assert "lottery" in cases and "lottery" in sparse_methods()
        model = small_net()
        method = cases["lottery"]().attach(model, OPTIMIZERS["sgd"](model))
        method.begin_epoch(0)
        assert sum(int((~mask).sum()) for _, mask in method.masks.items()) == 78  # of 104
        assert torch.isfinite(model[5].weight).all()
    assert "lottery" not in sparse_methods()


def test_a_case_made_by_hand_comes_before_the_defaults() -> None:
    cases = every_method({"gmp": "by hand", "gmp_often": "by hand"}, lambda name: "defaults")
    assert cases["gmp"] == cases["gmp_often"] == "by hand"
    assert cases["rigl"] == cases["set"] == "defaults" and not {"acdc", "dense"} & cases.keys()


@pytest.mark.exhaustive
def test_it_goes_through_every_product(lottery: Path, tmp_path: Path) -> None:
    written = tmp_path / "cases.xml"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "lottery", "-p", "no:cacheprovider", f"--junitxml={written}"]
        + [str(TESTS / name) for name in PRODUCTS],
        cwd=TESTS.parent,
        env=environment(ACDC_PLUGINS=str(lottery)),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
    files = [case.get("classname", "").replace(".", "/") for case in ElementTree.parse(written).iter("testcase")]
    for name, fewest in PRODUCTS.items():
        count = sum(file.endswith(name.removesuffix(".py")) for file in files)
        assert count >= fewest, f"{name}: {count} cases"
