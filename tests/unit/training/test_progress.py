"""What a run shows while it trains: the lines that stay, the line that changes, in a terminal and in a pipe."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from acdc_cli.records.headline import TOP1
from acdc_cli.report import table
from acdc_cli.report.terminal import print_table
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.durations import duration, run_seconds, sweep_seconds_left
from acdc_cli.training.epoch_lines import kept_epochs
from acdc_cli.training.live_line import PLAIN_BAR, Live, live_line
from acdc_cli.training.progress import Progress, SweepPlace

PHASES = ["dense", "sparse", "dense", "sparse"]


def row(epoch: int) -> dict[str, Any]:
    return {
        "epoch": epoch, "phase": PHASES[epoch], "train_loss": 1.5 / (epoch + 1), "train_top1": 0.5, "val_loss": 2.25,
        "val_top1": 0.125, "sparsity": 0.9 if epoch % 2 else 0.0, "lr": 0.1, "samples_per_second": 1234.5,
        "seconds": 2.0,
    }  # fmt: skip


def on_screen(text: str) -> list[str]:
    """What a terminal shows after ``text``: the few controls that a live line needs are obeyed."""
    lines, at, column = [""], 0, 0
    for control, character in re.findall(r"(\x1b\[[0-9;?]*[a-zA-Z])|([\s\S])", text):
        if control == "\x1b[2K":
            lines[at] = ""
        elif control == "\x1b[1A":
            at -= 1
        elif character == "\r":
            column = 0
        elif character == "\n":
            at, column = at + 1, 0
            lines += [""] * (at == len(lines))
        elif character:
            lines[at] = lines[at][:column].ljust(column) + character + lines[at][column + 1 :]
            column += 1
    while lines[-1] == "":
        lines.pop()
    return lines


def printed(width: int | None, sweep: SweepPlace | None = None, name: str = "run-a") -> list[str]:
    """Two epochs of four, of 10 steps each, a step a second. ``width`` of a terminal; None: into a pipe."""
    seconds = count()
    output = io.StringIO()
    console = Console(file=output, width=width or 80, force_terminal=width is not None, color_system=None)
    timeline = Timeline.of([(kind, epoch, epoch + 1) for epoch, kind in enumerate(PHASES)])
    now = [0]
    progress = Progress(name, timeline, 10, 0, 128, sweep=sweep, console=console, clock=lambda: now[0])
    with progress:
        for epoch in range(2):
            progress.begin(epoch, PHASES[epoch])
            for _ in range(10):
                now[0] = next(seconds) + 1
                progress.step()
            progress.epoch(row(epoch))
    assert width is not None or "\x1b" not in output.getvalue()
    return [line.rstrip() for line in on_screen(output.getvalue())]


LINES_OF_80 = [  # 20 of 40 steps in 20 s
    "epoch  phase   train loss  val loss  val top-1  sparsity      time      left",
    "  1/4  dense       1.5000    2.2500     0.1250    0.0000     2.0 s    30.0 s",
    "  2/4  sparse      0.7500    2.2500     0.1250    0.9000     2.0 s    20.0 s",
]


def test_the_lines_that_stay_on_80_columns() -> None:
    assert printed(80) == LINES_OF_80


def test_200_columns_have_room_for_more() -> None:
    assert printed(200)[:2] == [
        "epoch  phase   train loss  train top-1  val loss  val top-1  sparsity  learning rate  samples/s      time"
        "      left",
        "  1/4  dense       1.5000       0.5000    2.2500     0.1250    0.0000            0.1      1,234     2.0 s"
        "    30.0 s",
    ]


def test_a_pipe_has_the_lines_of_80_columns_and_no_escapes() -> None:
    assert printed(None) == LINES_OF_80


@pytest.mark.parametrize(
    ("width", "heading"),
    [(40, "epoch  phase   val top-1      time"), (60, "epoch  phase   val loss  val top-1  sparsity      time")],
)
def test_a_narrow_terminal_has_what_matters_most(width: int, heading: str) -> None:
    assert printed(width)[0] == heading


def test_runs_in_parallel_name_themselves_in_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # a pipe
    lines = printed(None, SweepPlace(2, 4, (), is_parallel=True))
    assert lines == [f"run-a  {line}" for line in LINES_OF_80]


def test_runs_in_turn_have_the_lines_of_a_single_run() -> None:
    assert printed(80, SweepPlace(2, 4, (), is_parallel=False)) == LINES_OF_80


def test_a_run_of_40_epochs_keeps_every_line() -> None:
    assert kept_epochs(Timeline.acdc(40)) == set(range(40))


def test_a_longer_run_keeps_a_line_a_phase_and_a_twentieth() -> None:
    """The paper's 100 epochs: D[0,10), S and D of 5 from 10 to 75, D[75,85), S[85,100). A twentieth is 5 epochs."""
    assert kept_epochs(Timeline.acdc(100)) == {*range(4, 100, 5)}
    assert kept_epochs(Timeline.dense(200)) == {*range(9, 200, 10)}
    uneven = Timeline.of([("dense", 0, 12), ("sparse", 12, 41)])  # a twentieth of 41 is 3 epochs
    assert kept_epochs(uneven) == {2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 40}


def test_a_line_s_time_is_that_of_all_epochs_it_stands_for() -> None:
    output = io.StringIO()
    timeline = Timeline.of([("dense", 0, 12), ("sparse", 12, 41)])
    progress = Progress("run", timeline, 1, 0, 1, console=Console(file=output, width=80))
    for epoch in range(3):
        progress.epoch(row(1) | {"epoch": epoch})
    (line,) = output.getvalue().splitlines()[1:]
    assert " 3/41 " in line and " 6.0 s " in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "0:01:00"), (754, "0:12:34"), (3599.6, "1:00:00"),
        (359_999, "99:59:59"), (360_000, "100 h"), (1_000_000, "277 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_time_left_of_run_and_sweep() -> None:
    assert run_seconds(30.0, done=10, steps=40) == 120.0
    assert run_seconds(30.0, done=0, steps=40) is None
    # Run 2 of 4, 90 s left of 120 s; the first took 60 s: two more of (60 + 120) / 2 s each.
    assert sweep_seconds_left(90.0, 120.0, [60.0], to_come=2) == 270.0
    assert sweep_seconds_left(None, None, [60.0], to_come=2) is None


LIVE = Live(11, 100, "sparse", 0.5, 3512.4, 754.0, None, None)
IN_A_SWEEP = Live(11, 100, "sparse", 0.5, 3512.4, 754.0, (2, 4), 5025.0)


def test_the_live_line_fits_and_says_all() -> None:
    assert live_line(LIVE, 72, PLAIN_BAR) == (
        "epoch 12/100  sparse  #########----------  3,512 samples/s  left 0:12:34"
    )
    assert live_line(IN_A_SWEEP, 79, PLAIN_BAR) == (
        "run 2/4 epoch 12/100 sparse ###---- 3,512 samples/s left 0:12:34, sweep 1:23:45"
    )
    wide = live_line(IN_A_SWEEP, 199, PLAIN_BAR)
    bar = "#" * 30 + "-" * 30
    assert wide == f"run 2/4  epoch 12/100  sparse  {bar}  3,512 samples/s  left 0:12:34, sweep 1:23:45"


def test_a_narrow_live_line_drops_the_pace_first_and_then_the_bar() -> None:
    assert live_line(IN_A_SWEEP, 64, PLAIN_BAR) == "run 2/4 epoch 12/100 sparse ####---- left 0:12:34, sweep 1:23:45"


def test_before_the_first_step_there_is_no_estimate() -> None:
    line = live_line(Live(0, 4, "dense", 0.0, None, None, (1, 2), None), 60, PLAIN_BAR)
    assert line == f"run 1/2  epoch 1/4  dense   {'-' * 15}  left –, sweep –"


IN_TERMINAL = """
from acdc_cli.sparsity.timeline import Timeline
from acdc_cli.training.progress import Progress, SweepPlace
from test_progress import PHASES, row
import time
timeline = Timeline.of([(kind, epoch, epoch + 1) for epoch, kind in enumerate(PHASES)])
with Progress("run-a", timeline, 2, 0, 128, sweep=SweepPlace(1, 2, (), is_parallel=False)) as progress:
    for epoch in range(4):
        progress.begin(epoch, PHASES[epoch])
        for _ in range(2):
            time.sleep(0.15)
            progress.step()
        progress.epoch(row(epoch))
"""


@pytest.mark.parametrize("columns", [80, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_in_a_real_terminal_the_lines_stay_and_the_live_line_goes(columns: int) -> None:
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    without = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TTY_COMPATIBLE", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL], cwd=Path(__file__).parent, stdin=terminal, stdout=terminal,
        stderr=terminal, env=without | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(reader, 65536):
            shown += piece
    except OSError:  # how Linux says that the program has closed the terminal
        pass
    os.close(reader)
    assert process.wait() == 0, shown.decode()
    text = shown.decode()
    drawn = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", piece) for piece in re.split(r"[\n\r]", text)]
    assert all(len(line) < columns for line in drawn)
    assert any(line.startswith("run 1/2") and "epoch 2/4" in line and "samples/s" in line for line in drawn)
    assert [line.split()[0] for line in on_screen(text)] == ["epoch", "1/4", "2/4", "3/4", "4/4"]


SPARSE = {"val_top1": 0.95, "val_loss": 0.25, "sparsity": 0.9, "inference_flops_fraction": 0.125}
DENSE = {"val_top1": 0.9625, "val_loss": 0.125, "sparsity": 0.03125, "inference_flops_fraction": 0.96875}
RESULT = {
    "sparse": SPARSE, "dense": DENSE, "sparsity": 0.9, "sparsity_of_pruned_layers": 0.9, "train_flops_fraction": 0.5625,
    "agreement": {"top1": 0.975, "cross_entropy": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_end_is_a_small_table(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    print_table(
        table.summary_columns(RESULT), table.summary_cells(RESULT), "a-run", lines=["report: a/very/long/path" * 10]
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert lines[0] == "a-run"
    assert lines[2] == f" model {TOP1.label:>9}     loss   sparsity       FLOPs      FLOPs"
    assert lines[4:6] == [
        " sparse   0.9500   0.2500     0.9000       0.125      0.562",
        " dense    0.9625   0.1250     0.0312       0.969      0.562",
    ]
    assert lines[6] == "report: a/very/long/path" * 10  # in one line, which acdc-search reads


def test_one_model_is_one_row_and_what_differs_is_said() -> None:
    alone = RESULT | {"dense": None, "agreement": None, "sparsity_of_pruned_layers": 0.95}
    assert [cells[0] for cells in table.summary_cells(alone)] == ["sparse"]
    assert "The sparsity of the pruned layers alone is 0.9500." in table.summary_notes(alone)
    assert len(table.summary_notes(RESULT)) == 2
