"""What several test folders share: the console scripts, prepared data, and whether FFCV has to be there."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.image_tree import write_image_tree
from helpers.support import BIN, Command, environment

from acdc_cli.commands.train import run_command_line as acdc_train
from acdc_cli.data.beton.availability import ffcv_problem


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_is_heard() -> None:
    """A shell that starts the tests in the background ignores SIGINT for them, and so for every process they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: on a busy machine several threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pytest_collection_finish() -> None:
    """What is there now stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the collector have everything back: a library would report what is still frozen at the end as leaked."""
    gc.unfreeze()


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run a console script in an empty folder: ``command("acdc-train", "epochs=2")``."""

    def run(name: str, *arguments: str, **extra_environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / name), *arguments],
            cwd=tmp_path,
            env=environment(**extra_environment),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
        )

    return run


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """acdc-report in this process, in an empty folder."""
    from acdc_cli.commands.report import main

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["acdc-report", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), printed.out, printed.err)

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """acdc-train in this process, in an empty folder: the command line without the seconds that importing takes."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        code = acdc_train(list(arguments))
        printed = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("NETRC", os.devnull)
    return run


@pytest.fixture(scope="session")
def needs_ffcv() -> None:
    """Skip where FFCV cannot be built, with the reason; fail where it has to be there."""
    problem = ffcv_problem()
    if problem and os.environ.get("ACDC_REQUIRE_FFCV"):
        pytest.fail(f"FFCV has to work here: {problem}")
    if problem:
        pytest.skip(f"FFCV cannot be imported: {problem}")


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One prepared copy of the digits for all runs of a session."""
    from acdc_cli.data.preparing.prepare import prepare

    folder = tmp_path_factory.mktemp("data")
    prepare("digits", None, folder / "digits")
    return folder


@pytest.fixture(scope="session")
def image_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature ImageNet, 10 classes of 12 training and 4 validation images; copy it before damaging it."""
    return write_image_tree(tmp_path_factory.mktemp("ilsvrc") / "tree", train=12, val=4)


@pytest.fixture
def acdc_data(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """acdc-data in this process: its exit code."""
    from acdc_cli.commands.data import main

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["acdc-data", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run
