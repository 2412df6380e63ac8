"""acdc-report TABLE: what is planned, run, shared, waited for and said, with real runs of two epochs on the digits."""

from __future__ import annotations

import csv
import io
import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.support import Command
from helpers.training import train
from safetensors import safe_open
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from acdc_cli import load_model
from acdc_cli.commands.report import _parser, _run
from acdc_cli.errors import EXIT_DONE, EXIT_FAILED, BadInput
from acdc_cli.launch.table_pairs import measure_pairs
from acdc_cli.launch.table_runs import run_missing
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.system.files import replace_json
from acdc_cli.tables.fill import fill
from acdc_cli.tables.found import state_of
from acdc_cli.tables.jobs import Request, RowJobs, every_job, table_jobs
from acdc_cli.tables.pairs import agreement_of
from acdc_cli.tables.plan import print_plan
from acdc_cli.tables.spec import TableSpec, read_table_file
from acdc_cli.tables.text import text_table

TABLE = """
title: "Of these tests"
columns: [top1, dense_top1, finetuned_top1, agreement, train_flops]
sources: {p: "a paper"}
rows:
  - {method: Dense, run: [method=dense], published: {top1: [76.9, p]}}
  - {method: AC/DC, run: [sparsity=0.9], finetune: true}
  - {method: GMP, run: [method=gmp, sparsity=0.8], dense_partner: [method=dense]}
  - {method: magnitude, run: [method=magnitude, sparsity=0.9], paper: null}
  - {method: of a task to come, run: [experiment=transformer_xxl], published: {top1: unknown}}
  - {method: of settings that are lost, small: null}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> TableSpec:
    path = tmp_path_factory.mktemp("table") / "mine.yaml"
    path.write_text(TABLE)
    return read_table_file(path)


def request(runs: Path, data_dir: Path, *extra: str) -> Request:
    quick = ("epochs=2", "batch_size=256", "model.width=32", "tracker=none", f"runs_dir={runs}", f"data_dir={data_dir}")
    return Request("small", None, (*quick, *extra))


@pytest.fixture(scope="module")
def finished(spec: TableSpec, tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Request:
    """The table, run from nothing."""
    asked = request(tmp_path_factory.mktemp("runs"), data_dir)
    assert run_missing(lambda: table_jobs(spec, asked), []) == EXIT_DONE
    return asked


def rows_by_method(spec: TableSpec, asked: Request) -> dict[str, RowJobs]:
    return {row.row.method: row for row in table_jobs(spec, asked)}


def folders(asked: Request) -> list[RunFolder]:
    (runs,) = (extra.partition("=")[2] for extra in asked.extra if extra.startswith("runs_dir="))
    return run_folders(Path(runs))


@pytest.mark.exhaustive
def test_equal_runs_are_one_and_what_prunes_or_fine_tunes_follows(spec: TableSpec, finished: Request) -> None:
    made = {folder.read_result()["method"] for folder in folders(finished)}
    assert made == {"dense", "acdc", "gmp", "magnitude"}
    assert len(folders(finished)) == 5  # one dense run for three rows, and the fine-tuning
    rows = rows_by_method(spec, finished)
    (pruned,) = rows["magnitude"].seeds
    assert pruned.run is not None and pruned.dense is not None
    assert pruned.run.folder.read_result()["started_from"] == str(pruned.dense.folder.path)
    (tuned,) = rows["AC/DC"].seeds
    assert tuned.run is not None and tuned.finetuned is not None
    assert tuned.finetuned.folder.read_result()["started_from"] == str(tuned.run.folder.path)
    assert all(folder.path.parent.name == "mine" for folder in folders(finished))  # W&B's group is this folder's name


@pytest.mark.slow
def test_a_second_call_runs_nothing(spec: TableSpec, finished: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acdc_cli.launch.table_runs.run_listed", lambda *_: pytest.fail("something was run again"))
    assert run_missing(lambda: table_jobs(spec, finished), []) == EXIT_DONE


@pytest.mark.slow
def test_cells_are_what_the_records_say(spec: TableSpec, finished: Request) -> None:
    rows = table_jobs(spec, finished)
    measure_pairs(rows, lambda line: None)
    filled = {row.row.method: row for row in fill(spec, rows, finished)}
    for folder in folders(finished):
        result = folder.read_result()
        if result["method"] in ("gmp", "magnitude"):
            measured = filled[{"gmp": "GMP"}.get(result["method"], result["method"])].cells["top1"].measured
            assert measured is not None and measured.mean == 100 * result["sparse"]["val_top1"]
    partner = filled["GMP"].cells["dense_top1"].measured
    assert partner == filled["Dense"].cells["top1"].measured
    # At paper scale these rows are the digits too, for 40 epochs; of the last one's recipe that much is known. And a
    # batch size was typed.
    assert filled["Dense"].marks == filled["GMP"].marks == filled["magnitude"].marks == "so"
    assert filled["of a task to come"].note == "not available yet: experiment=transformer_xxl"
    assert filled["of settings that are lost"].note == "its settings are not known"
    table = text_table(spec, list(filled.values()))
    assert len(table.rows) == 6 and all(len(line) == len(table.headings) for line in table.rows)


@pytest.mark.slow
def test_agreement_of_two_runs_is_measured_once_and_recorded(spec: TableSpec, finished: Request) -> None:
    rows = table_jobs(spec, finished)
    measure_pairs(rows, lambda line: None)
    said = list[str]()
    measure_pairs(rows, said.append)
    assert said == []
    (gmp,), (tuned,) = rows_by_method(spec, finished)["GMP"].seeds, rows_by_method(spec, finished)["AC/DC"].seeds
    assert gmp.run is not None and gmp.partner is not None and tuned.run is not None and tuned.finetuned is not None
    for sparse, dense, jobs in ((gmp.run, gmp.partner, gmp), (tuned.run, tuned.finetuned, tuned)):
        recorded = agreement_of(jobs)
        assert recorded is not None
        assert recorded["top1"] == pytest.approx(
            predicted_alike(sparse.folder, dense.folder), abs=0.01
        )  # theirs is bf16
    assert gmp.run.folder.read_result()["agreement"] is None  # the run itself has no dense model


def predicted_alike(sparse: RunFolder, dense: RunFolder) -> float:
    """Of scikit-learn's own digits, by the models' files alone."""
    digits = load_digits()
    _, images = train_test_split(digits.images, test_size=0.2, stratify=digits.target, random_state=0)
    with safe_open(sparse.models / "sparse.safetensors", framework="pt") as file:
        written = file.metadata()
    mean, std = json.loads(written["mean"]), json.loads(written["std"])
    inputs = (torch.tensor(np.rint(images * (255 / 16)) / 255, dtype=torch.float32)[:, None] - mean[0]) / std[0]
    models = [load_model(sparse.path, "sparse").eval(), load_model(dense.path, "dense").eval()]
    with torch.no_grad():
        first, second = (model(inputs).argmax(dim=1) for model in models)
    return (first == second).double().mean().item()


@pytest.mark.slow
def test_what_someone_else_has_run_is_found_by_its_id(spec: TableSpec, tmp_path: Path, data_dir: Path) -> None:
    own = train(tmp_path, data_dir, "epochs=2", "batch_size=256", "model.width=32", "method=dense", "run.name=by_hand")
    (jobs,) = rows_by_method(spec, request(tmp_path, data_dir))["Dense"].seeds
    assert jobs.run is not None and jobs.run.folder.path == own.path and jobs.run.state == "done"
    asked = Request("small", 1, request(tmp_path, data_dir).extra)
    train(tmp_path, data_dir, "epochs=2", "batch_size=256", "model.width=32", "method=dense", "seed=1")
    assert len(rows_by_method(spec, asked)["Dense"].seeds) == 2  # a seed beyond those asked for is shown


@pytest.mark.slow
def test_fine_tuning_from_best_epochs_and_runs_that_keep_more_than_is_asked(tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"{TABLE.partition('  - {method: Dense')[0]}  - {{method: AC/DC, run: [sparsity=0.9], finetune: true}}"
    )
    spec, runs = read_table_file(path), tmp_path / "runs"
    asked = request(runs, data_dir, "finetune_start=best", "keep_best=true")
    assert run_missing(lambda: table_jobs(spec, asked), []) == EXIT_DONE
    (jobs,) = rows_by_method(spec, asked)["AC/DC"].seeds
    assert jobs.run is not None and jobs.finetuned is not None
    assert jobs.run.folder.model("dense_best").is_file() and jobs.finetuned.state == "done"
    assert jobs.finetuned.folder.path.name.startswith("resnet8-digits-dense-finetuned-best-seed0-")
    (without,) = rows_by_method(spec, request(runs, data_dir))["AC/DC"].seeds
    assert without.run is not None and without.run.folder.path == jobs.run.folder.path and without.run.state == "done"
    # In two epochs the only dense one is the best and the last: the same weights, but another run was asked for.
    assert without.finetuned is not None and without.finetuned.run_id != jobs.finetuned.run_id


@pytest.mark.exhaustive
def test_a_run_that_fails_is_named_and_the_others_go_on(
    spec: TableSpec, tmp_path: Path, data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = request(tmp_path, data_dir)
    jobs = {row.row.method: row.seeds[0] for row in table_jobs(spec, asked) if row.seeds}
    gmp = jobs["GMP"].run
    assert gmp is not None
    gmp.folder.checkpoint.parent.mkdir(parents=True)
    gmp.folder.checkpoint.write_bytes(b"no checkpoint")
    assert run_missing(lambda: table_jobs(spec, asked), []) == EXIT_FAILED
    assert f"{gmp.folder.path.name}: " in capfd.readouterr().err
    states = {job.config.method.name: job.state for job in every_job(table_jobs(spec, asked))}
    assert states == {"dense": "done", "acdc": "done", "gmp": "failed", "magnitude": "done"}
    gmp.folder.checkpoint.unlink()
    assert run_missing(lambda: table_jobs(spec, asked), []) == EXIT_DONE


def test_states(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert state_of(folder) == "missing"
    folder.path.mkdir()
    folder.write_status("running", 1)
    assert state_of(folder) == "interrupted"  # no process has it: it was killed
    with folder.locked():
        assert state_of(folder) == "running"
    status = folder.read_status()
    replace_json(folder.status, status | {"host": f"not-{socket.gethostname()}"})
    assert state_of(folder) == "running"  # on another machine, whose lock cannot be seen here
    replace_json(folder.status, status | {"host": "another", "updated": time.time() - 7200})
    assert state_of(folder) == "interrupted"
    folder.write_status("done", 2)
    assert state_of(folder) == "interrupted"  # whose result has been removed
    folder.status.write_text("{")
    assert state_of(folder) == "failed"


def report(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """acdc-report in this process. Returns what it prints."""
    capfd.readouterr()
    assert _run(_parser().parse_intermixed_args(arguments)) == EXIT_DONE
    return capfd.readouterr().out


@pytest.mark.slow
def test_the_command_plans_runs_prints_and_writes(
    command: Command, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--scale", "small", "epochs=2", "batch_size=256", "model.width=32", "tracker=none", f"data_dir={data_dir}"]
    planned = report(capfd, "table8", "--plan", "--format", "csv", *quick)
    assert planned.startswith("id,state,method,setting,seed,epochs,training FLOPs,time,overrides")
    assert planned.count("missing") == 4 and not (tmp_path / "runs").exists()
    ran = command("acdc-report", "table8", "--run", *quick, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert ran.returncode == EXIT_DONE, ran.stderr
    written = sorted(path.name for path in (tmp_path / "runs" / "tables" / "small").iterdir())
    assert written == ["table8.csv", "table8.md", "table8.png", "table8.tex"]
    again = report(capfd, "table8", *quick, "--format", "markdown")
    assert again == (tmp_path / "runs" / "tables" / "small" / "table8.md").read_text() + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]  # nothing else is left behind


def test_a_plan_lists_what_follows_and_what_cannot_be_run(
    spec: TableSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan([spec], Request("small", None, (f"runs_dir={tmp_path}",)), "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    states = [(line["method"], line["state"]) for line in lines]
    assert states == [
        *(
            ("Dense", "missing"),
            ("AC/DC", "missing"),
            ("AC/DC", "missing"),
            ("GMP", "missing"),
            ("magnitude", "missing"),
        ),
        ("of a task to come", "not available yet: experiment=transformer_xxl"),
        ("of settings that are lost", "its settings are not known"),
    ]
    dense, acdc, finetuned, _, magnitude = lines[:5]
    assert finetuned["id"] == f"after {acdc['id']}" and magnitude["id"] == f"after {dense['id']}"
    assert "finetune=dense" in finetuned["overrides"]
    # Of 40 epochs the fine-tuning trains the last 6, dense.
    assert float(finetuned["training FLOPs"]) == pytest.approx(0.15 * float(dense["training FLOPs"]), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table1", "seed=3"], "seed=3: the table's rows decide that; --seeds N says how many seeds"),
        (["table1", "--seeds", "0"], "--seeds 0: not 1 to 100 runs a row; nearest: --seeds 1"),
        (["table1", "--seeds", "1000000000"], "--seeds 1000000000: not 1 to 100 runs a row; nearest: --seeds 100"),
        (["table8", "sparsity=0.5"], "sparsity=0.5: the table's rows decide that"),
        (["table1", "method.start=0.5"], "method.start=0.5: the table's rows decide that"),
        (
            ["table5", "schedule.sparse_epochs=3", "--scale", "small"],
            "schedule.sparse_epochs=3: the table's rows decide",
        ),
        (["table1", "--plan", "--run"], "--plan --run: one of the two"),
        (["table1", "--plan", "--format", "latex"], "--format latex: a plan is printed as terminal, markdown or csv"),
        (["table1", "--retry"], "--retry: is of runs, not of a table"),
        (["table1", "--figure", "x.png"], "--figure: is of runs, not of a table"),
        (["runs", "--plan"], "--plan: is of a table, not of runs"),
        (["runs", "--scale", "small"], "--scale: is of a table, not of runs"),
        (["table1", "--out", "/proc/x"], "--out /proc/x: cannot be written to"),
        (["table1", "--out", "/etc/passwd"], "--out /etc/passwd: cannot be written to (File exists)"),
        (["table1", "runs_dir=/proc/x"], "runs_dir: /proc/x/tables/paper: cannot be written to"),
        (["no_such_folder", "--retry"], "--retry no_such_folder: there is no run folder"),
        (["table4", "epochz=3"], "epochz=3: there is no key epochz"),
        (["table1", "tabel2"], "TABLE=tabel2: did you mean TABLE=table2?"),
        (["seed=3"], "seed=3: one run or one folder of runs at a time"),
        (["runs", "seed=3"], "runs seed=3: one run or one folder of runs at a time"),
        (["tabel1"], "tabel1: neither a run folder nor a folder of runs"),
        (["table1", "epochz=3", "--plan"], "epochz=3: there is no key epochz; did you mean epochs=3?"),
    ],
)
def test_bad_input(arguments: list[str], said: str) -> None:
    with pytest.raises(BadInput) as refused:
        _run(_parser().parse_intermixed_args(arguments))
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.slow
def test_retry_goes_on_with_what_was_interrupted(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "runs", data_dir, "epochs=2", "batch_size=256", "model.width=32")
    result = json.loads(run.result.read_text())
    run.result.write_text("{")
    monkeypatch.chdir(tmp_path)
    report(capfd, "runs/default", "--retry")
    assert run.is_done and [found.path for found in run_folders(tmp_path / "runs")] == [run.path]
    assert run.read_result()["sparse"] == result["sparse"]
    assert _run(_parser().parse_intermixed_args(["runs/default", "--retry"])) == EXIT_DONE
    assert "none of 1 runs" in capfd.readouterr().err
