"""What the operating system gives: devices, signals, locks, processes; and the keys of nested dictionaries."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from acdc_cli.system.files import left_temporary, replace_text, temporary_beside
from acdc_cli.system.locks import owned, owned_in_turn
from acdc_cli.system.nested import leaves
from acdc_cli.system.processors import may_have_gpu
from acdc_cli.system.signals import handled_by
from acdc_cli.system.workers import Shares, WorkerDied, answers_of


@pytest.mark.parametrize(
    ("files", "variables", "expected"),
    [
        (["null", "nvme0n1", "dri"], {}, False),  # a disk and a screen
        (["nvidiactl"], {}, True),
        (["nvidia0"], {}, True),
        (["kfd"], {}, True),
        (["null"], {"CUDA_VISIBLE_DEVICES": ""}, True),  # PyTorch is asked
    ],
)
def test_whether_there_may_be_a_gpu(
    files: list[str], variables: dict[str, str], expected: bool, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert may_have_gpu(tmp_path, variables) is expected


def test_leaves_of_nested_dictionaries() -> None:
    node = {"a": {"b": 1, "c": {"d": None}}, "e": [2], "f": {}}
    assert list(leaves(node)) == [("a.b", 1), ("a.c.d", None), ("e", [2])]
    assert list(leaves(node, with_empty=True)) == [("a.b", 1), ("a.c.d", None), ("e", [2]), ("f", {})]


def test_a_temporary_name_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "status.json"
    replace_text(path, "{}")
    assert list(left_temporary(tmp_path)) == []
    temporary_beside(path).touch()
    assert list(left_temporary(tmp_path)) == [tmp_path / "deep" / f".status.json.{os.getpid()}.tmp"]


def test_signals_have_their_handlers_back_afterwards() -> None:
    came = list[int]()
    earlier = signal.getsignal(signal.SIGUSR1)
    with handled_by(lambda number, frame: came.append(number), [signal.SIGUSR1]) as before:
        signal.raise_signal(signal.SIGUSR1)
        assert before == {signal.SIGUSR1: earlier}
    assert (came, signal.getsignal(signal.SIGUSR1)) == ([signal.SIGUSR1], earlier)


def test_a_folder_is_owned_by_one_process_after_the_other(tmp_path: Path) -> None:
    holder = f"""
import time
from pathlib import Path
from acdc_cli.system.locks import owned

with owned(Path({str(tmp_path)!r})):
    print(1, flush=True)
    time.sleep(1)
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        with pytest.raises(BlockingIOError), owned(tmp_path):
            pass
        waited = list[str]()
        with owned_in_turn(tmp_path, lambda: waited.append("waiting")):
            assert waited == ["waiting"]
            assert other.wait(5) == 0


def squares(shares: Shares, send: Callable[[Any], None]) -> None:
    for share in shares:
        send([number**2 for number in share])


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_share_a_piece_of_work(processes: int) -> None:
    shares = Shares(10, at_once=4)
    answers = list(answers_of(lambda send: squares(shares, send), processes))
    assert sorted(answers) == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]


def fail(send: Callable[[Any], None]) -> None:
    raise ValueError("no such thing")


def die(send: Callable[[Any], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_long(send: Callable[[Any], None]) -> None:
    send(os.getpid())
    time.sleep(100)


class Cycle:
    """Garbage that only the collector finds; it tells the process in which it was collected."""

    collected_in: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        Cycle.collected_in.append(os.getpid())


def collect(send: Callable[[Any], None]) -> None:
    gc.collect()
    send((gc.isenabled(), Cycle.collected_in))


def test_a_process_leaves_the_first_ones_garbage_alone() -> None:
    """A process group of torch.distributed that is collected in a forked process waits for threads that it lacks."""
    gc.collect()
    gc.disable()
    Cycle()
    answers = list(answers_of(collect, 2))
    assert answers == [(True, []), (True, [])]
    assert not gc.isenabled(), "what it was before"
    gc.enable()


def test_an_error_in_a_process_is_raised_here() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        list(answers_of(fail, 2))


def test_a_killed_process_is_noticed() -> None:
    with pytest.raises(WorkerDied) as died:
        list(answers_of(die, 1))
    assert died.value.exit_code == -signal.SIGKILL


def test_no_process_is_left_when_nobody_listens_any_more() -> None:
    answers = answers_of(wait_long, 2)
    started = [next(answers), next(answers)]
    answers.close()
    for process in started:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
