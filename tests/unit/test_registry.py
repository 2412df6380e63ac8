"""Parts by name: found by their files, registered from outside, refused in one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.parts import own_parts

import acdc_cli
from acdc_cli.config.compose import compose_config
from acdc_cli.errors import BadInput
from acdc_cli.parts import DATASETS, METHODS, MODELS, TASKS

PACKAGE = Path(acdc_cli.__file__).parent


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    with own_parts():
        yield


@pytest.mark.parametrize(
    ("registry", "room"),
    [(METHODS, "methods"), (MODELS, "models/families"), (DATASETS, "data/sets"), (TASKS, "tasks")],
)
def test_every_file_of_a_room_has_the_part_that_it_is_called_after(registry: Any, room: str) -> None:
    files = [path for path in (PACKAGE / room).glob("*.py") if not path.name.startswith("_")]
    assert len(files) == len(registry.names()) > 0
    for path in files:
        part = registry.part(path.stem.rstrip("_"))
        assert (part.file, part.name) == (path, path.stem.rstrip("_"))


def test_the_fourteen_methods() -> None:
    """contract.md and docs/methods.md name them."""
    assert set(METHODS.names()) >= {
        *("acdc", "dense", "dsd", "gmp", "iht", "magnitude", "rigl"),
        *("set", "snip", "sparse_vd", "static", "str", "top_kast", "woodfisher"),
    }


def test_an_unknown_part_is_answered_with_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"^method\.name=rigel: did you mean method\.name=rigl\? Choices: acdc, dense,"):
        METHODS.part("rigel", "method.name")


def test_a_taken_name_names_both_places() -> None:
    @acdc_cli.register_model("mine")
    @dataclass(kw_only=True)
    class Mine:
        def build(self, inputs: Any) -> None: ...

    line = Mine.build.__code__.co_firstlineno - 3
    with pytest.raises(BadInput) as refused:
        acdc_cli.register_model("mine")(Mine)
    assert str(refused.value).startswith(f"{__file__}, line {line + 7}: register_model('mine'): the name is taken; ")
    assert f"{__file__}, line {line} has it" in str(refused.value)
    with pytest.raises(BadInput, match=r"register_method\('rigl'\): the name is taken"):
        acdc_cli.register_method("rigl")(Mine)


def test_a_part_without_a_function_that_it_needs() -> None:
    @dataclass(kw_only=True)
    class Empty:
        width: int = acdc_cli.number(1)

    for register, lacks in (
        (acdc_cli.register_model, "build"),
        (acdc_cli.register_dataset, "origin"),
        (acdc_cli.register_method, "build"),
        (acdc_cli.register_task, "loss"),
    ):
        with pytest.raises(BadInput, match=rf"test_registry\.py, line \d+: .*Empty lacks the function {lacks}"):
            register("empty")(Empty)  # type: ignore[operator]


def test_a_class_that_is_no_dataclass() -> None:
    class Plain:
        def build(self, inputs: Any) -> None: ...

    with pytest.raises(BadInput, match="Plain is no dataclass; put @dataclass between the two"):
        acdc_cli.register_model("plain")(Plain)


@dataclass(kw_only=True)
class Steps:
    """A method of two keys, one of which may be left out."""

    every: int = acdc_cli.number(1)
    share: float | None = acdc_cli.number(0, 1, default=None)

    def build(self, setting: Any) -> None: ...

    def expected(self, setting: Any, epoch: int, sparse: float) -> None: ...


@pytest.fixture
def config_dir(tmp_path: Path) -> str:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "steps.yaml").write_text("name: steps\nevery: 3\n")
    acdc_cli.register_method("steps")(Steps)
    return str(tmp_path)


def test_a_methods_own_keys_have_their_types(config_dir: str) -> None:
    options = compose_config(["method=steps", "method.share=0.5"], config_dir).method.options
    assert options == Steps(every=3, share=0.5)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("method.every=0", r"^method\.every=0: outside \[1, inf\); nearest: method\.every=1$"),
        ("method.every=often", r"^method\.every=often: must be a whole number$"),
        ("method.every=null", r"^method\.every=null: method=steps needs a value; conf/method/steps\.yaml has one$"),
        ("method.share=1.5", r"^method\.share=1\.5: outside \[0, 1\]; nearest: method\.share=1$"),
        ("method.evry=2", r"^method\.evry=2: there is no key method\.evry; did you mean method\.every=2\?$"),
        ("method=stps", r"^method=stps: did you mean method=steps\?"),
    ],
)
def test_mistakes_in_them_are_said_as_of_a_built_in_one(config_dir: str, typed: str, said: str) -> None:
    chosen = [] if typed.startswith("method=") else ["method=steps"]
    with pytest.raises(BadInput, match=said):
        compose_config([*chosen, typed], config_dir)


def test_a_key_of_another_method_is_dropped(config_dir: str) -> None:
    """So that a sweep over methods can set it for some."""
    options = compose_config(["method=steps", "method.drop_fraction=0.1"], config_dir).method.options
    assert options == Steps(every=3)
    assert compose_config(["method=dense", "method.every=7"], config_dir).method.name == "dense"
