"""No file of a run folder, whatever is in it, ends a command in a traceback; the run's own command repairs what it can.

The whole product of files, damages and commands is exhaustive; a few of its cases run every time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.training import equal_bits, model_state, train
from hostile import DAMAGES, FILES, QUICK, Ended, commands, in_process, make_old

from acdc_cli.records.folder import RunFolder

SOME = [
    ("config.yaml", "wrong types"),
    ("status.json", "not UTF-8"),
    ("metrics.jsonl", "NaN"),
    ("result.json", "list"),
    ("checkpoints/last.pt", "one bit"),
    ("models/sparse.safetensors", "one bit"),
]
EVERY = [(file, damage) for file in FILES for damage in DAMAGES]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> tuple[RunFolder, RunFolder]:
    """A finished run, and another one to take foreign files from."""
    runs = tmp_path_factory.mktemp("made")
    first, second = (train(runs, data_dir, *QUICK, f"seed={seed}") for seed in (0, 1))
    return first, second


def copied(run: RunFolder, other: RunFolder, runs: Path) -> RunFolder:
    """The finished run in a sweep of its own, beside a good one."""
    for each in (run, other):
        shutil.copytree(each.path, runs / "default" / each.path.name)
    return RunFolder(runs / "default" / run.path.name)


def check_case(
    file: str,
    damage: str,
    is_old: bool,
    made: tuple[RunFolder, RunFolder],
    folder: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
    left_out: tuple[str, ...] = (),
) -> None:
    """All commands on one damage.

    Args:
        left_out: commands that are not tried.
        is_old: the folder is one of before there were sums: what is still a record of a run is then believed.
    """
    run = copied(*made, folder / "runs")
    if is_old:
        make_old(run)
    DAMAGES[damage](run.path / file, made[1].path / file)
    for name, command in commands(run, data_dir).items():
        if name in left_out:
            continue
        case = f"{file} {damage} {'old ' * is_old}{name}"
        ended: Ended = in_process(capfd, command)
        ended.check(Path(file).name if (run.path / file).exists() else run.path.name, case)
        assert made[1].path.name in ended.out or name != "report runs", case
        if name.startswith("report s"):
            assert len(ended.out.splitlines()) >= 2, f"{case}: the good run is not shown"
        if name == "train again" and ended.code == 0 and not is_old:
            assert run.is_done and {fault.path.parent for fault in run.faults()} <= {run.masks}, case
            assert all(equal_bits(model_state(run, kind), model_state(made[0], kind)) for kind in ("sparse", "dense"))
        if name == "overwrite":
            assert ended.code == 0 and run.is_done and run.faults() == [], f"{case}: {ended.error}"
            assert all(equal_bits(model_state(run, kind), model_state(made[0], kind)) for kind in ("sparse", "dense"))


@pytest.mark.slow
@pytest.mark.parametrize(("file", "damage"), SOME)
def test_half_a_dozen(
    file: str,
    damage: str,
    made: tuple[RunFolder, RunFolder],
    tmp_path: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trains_anew = file in ("status.json", "checksums.json")  # of the rest that is in the whole product
    check_case(file, damage, False, made, tmp_path, data_dir, capfd, () if trains_anew else ("overwrite",))


@pytest.mark.exhaustive
@pytest.mark.parametrize("is_old", [False, True], ids=["with sums", "without"])
@pytest.mark.parametrize(("file", "damage"), EVERY)
def test_every_file_and_every_damage(
    file: str,
    damage: str,
    is_old: bool,
    made: tuple[RunFolder, RunFolder],
    tmp_path: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if is_old and file == "checksums.json":
        pytest.skip("there is none")
    check_case(file, damage, is_old, made, tmp_path, data_dir, capfd)
