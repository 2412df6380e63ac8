"""A second task, regression on arrays, goes through everything that image classification does.

The loop, the checkpoints, the ledger, the ranks, the reports and the tables know no task.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers.parts import own_parts
from helpers.support import BIN, Command
from helpers.training import equal_bits, model_state, without_times
from torch import Tensor, nn

import acdc_cli
from acdc_cli.config.command_line import add_config_dir
from acdc_cli.config.compose import compose_config
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.errors import BadInput
from acdc_cli.parts import METHODS
from acdc_cli.planning.plan import plan
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.records.headline import Headline
from acdc_cli.report.page import write_page
from acdc_cli.training import records
from acdc_cli.training.execute import execute
from acdc_cli.training.reevaluate import reevaluate

TRAIN, VAL, FEATURES, HIDDEN = 192, 50, 3, 16
WEIGHTS = FEATURES * HIDDEN + HIDDEN
QUICK = ["model=curve", "dataset=planes", "epochs=4", "batch_size=32", "threads=1", "tracker=none", "precision=fp32"]
OF_ITS_OWN = {
    "woodfisher": ["method.fisher_samples=8", "method.fisher_block=8"],
    "sparse_vd": ["method.kl_weight=0.05"],
    "str": ["method.s_init=-3"],
}


def planes(count: int, seed: int) -> Samples:
    """Points x of three numbers, and x0 - 2 x1 with a little noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, FEATURES)).astype(np.float32)
    y = x[:, :1] - 2 * x[:, 1:2] + random.normal(0, 0.01, (count, 1))
    return Samples(x, y.astype(np.float32))


@pytest.fixture(autouse=True)
def regression(tmp_path: Path) -> Iterator[None]:
    for name, text in {
        "dataset/planes.yaml": "name: planes\n",
        "model/curve.yaml": "name: curve\n",
        "table/ours.yaml": (
            'title: "Ours"\ncolumns: [sparsity, headline, train_flops]\nrows:\n'
            f"  - {{method: AC/DC, small: [{', '.join(QUICK)}, sparsity=0.5]}}\n"
        ),
    }.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    with own_parts():

        @acdc_cli.register_task("regression")
        @dataclass(kw_only=True)
        class Regression:
            headline: ClassVar = Headline("squared error", val_key="val_loss", train_key="train_loss", direction="down")

            def loss(self, config: Any, outputs: Tensor, targets: Tensor) -> Tensor:
                return nn.functional.mse_loss(outputs, targets)

            def scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
                error = outputs - targets
                return {"val_loss": (error**2).mean(dim=1), "val_bias": error.mean(dim=1)}

        @acdc_cli.register_dataset("planes", task="regression", is_embedded=True)
        @dataclass(kw_only=True)
        class Planes:
            def origin(self) -> Source:
                return Source(Arrays(lambda folder: {"train": planes(TRAIN, 0), "val": planes(VAL, 1)}, str))

        @acdc_cli.register_model("curve")
        @dataclass(kw_only=True)
        class Curve:
            def build(self, inputs: Any) -> nn.Module:
                return nn.Sequential(nn.Linear(*inputs.features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, *inputs.targets))

        add_config_dir(tmp_path / "conf")
        yield


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., RunFolder]:
    def run(*typed: str, runs: str = "runs") -> RunFolder:
        words = [*QUICK, "sparsity=0.5", f"runs_dir={tmp_path / runs}", f"data_dir={tmp_path / 'data'}", *typed]
        return execute(compose_config(words), lambda line: None)

    return run


def error_of(run: RunFolder, kind: str) -> float:
    """The mean squared error of a run's model, by hand."""
    state, val = model_state(run, kind), planes(VAL, 1)
    hidden = torch.relu(torch.from_numpy(val.images) @ state["0.weight"].T + state["0.bias"])
    return float(((hidden @ state["2.weight"].T + state["2.bias"] - torch.from_numpy(val.labels)) ** 2).mean())


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_learns_it(method: str, train: Callable[..., RunFolder]) -> None:
    run = train(f"method={method}", *OF_ITS_OWN.get(method, []))
    result, rows = run.read_result(), run.read_metrics()
    assert result["prunable_weights"] == WEIGHTS and result["agreement"] is None
    assert (result["headline"]["name"], result["headline"]["direction"]) == ("val_loss", "down")
    assert (result["headline"]["label"], result["task"]) == ("squared error", "regression")
    for kind in ("sparse", "dense"):
        if result[kind] is not None:
            assert result[kind]["val_loss"] == pytest.approx(error_of(run, kind), rel=1e-5)
            assert {"val_bias", "best_val_loss", "best_epoch"} <= result[kind].keys()
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] < 6  # y has a variance of 5
    assert all(row["resolution"] is None and "val_top1" not in row for row in rows)


def test_the_best_epoch_is_the_one_of_the_smallest_error(train: Callable[..., RunFolder]) -> None:
    run = train("method=dense", "keep_best=true")
    errors = [row["val_loss"] for row in run.read_metrics()]
    dense = run.read_result()["dense"]
    assert (dense["best_val_loss"], dense["best_epoch"]) == (min(errors), errors.index(min(errors)))
    assert error_of(run, "dense_best") == pytest.approx(min(errors), rel=1e-5)


def test_a_plan_counts_its_products(train: Callable[..., RunFolder]) -> None:
    """A multiply-add is 2 FLOPs; half of the weights go, and AC/DC's dense epochs cost 3F (schedule D S D S)."""
    planned = plan(compose_config([*QUICK, "sparsity=uniform", "sparsity.target=0.5"]))
    assert planned["dense_inference_flops"] == 2 * WEIGHTS and planned["inference_flops_fraction"] == 0.5
    assert planned["train_flops_fraction"] == pytest.approx((2 + 2 * 0.5) / 4)


def test_killed_inside_an_epoch_it_goes_on_to_the_same_bits(
    train: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train("checkpoint.every_minutes=0", runs="whole")
    save, saved = records.save_checkpoint, list[int]()

    def killing(*arguments: Any) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 9:  # the third step of the second epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(records, "save_checkpoint", killing)
    with pytest.raises(acdc_cli.errors.Interrupted):
        train("checkpoint.every_minutes=0")
    again = train("checkpoint.every_minutes=0")
    assert without_times(again) == without_times(whole)
    for kind in ("sparse", "dense"):
        assert equal_bits(model_state(again, kind), model_state(whole, kind))


def test_evaluated_reported_and_in_tables(
    train: Callable[..., RunFolder], report: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [train(f"seed={seed}") for seed in (0, 1)]
    measured = reevaluate(runs[0].path, None, None, None)
    assert measured["val_loss"] == pytest.approx(runs[0].read_result()["sparse"]["val_loss"], abs=1e-12)
    write_page(runs[0])
    page = runs[0].report.read_text()
    assert "Validation squared error" in page and "squared error of the sparse model" in page and "top-1" not in page
    listed = report(str(tmp_path / "runs"), "--format", "csv")
    assert listed.returncode == 0 and "sparse_loss" in listed.stdout.splitlines()[0], listed.stderr
    figure = report(str(tmp_path / "runs"), "--figure", str(tmp_path / "figure.svg"))
    assert figure.returncode == 0 and "squared error of the sparse model" in (tmp_path / "figure.svg").read_text()
    words = ["ours", "--run", "--scale", "small", "--format", "csv", f"data_dir={tmp_path / 'data'}"]
    table = report(*words)
    assert table.returncode == 0, table.stderr
    (run,) = (folder for folder in run_folders(tmp_path / "runs" / "ours"))
    assert f"{run.read_result()['sparse']['val_loss']}"[:6] in table.stdout


def test_a_data_set_of_another_task_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^task=image_classification: dataset=planes is learned by task=regression"):
        compose_config([*QUICK, "task=image_classification"])
    with pytest.raises(BadInput, match="resnet8: is built for data with channels, and these have features, targets"):
        plan(compose_config([*QUICK, "model=resnet8"]))


PLUGIN = """
from dataclasses import dataclass
import numpy as np
from torch import nn
import acdc_cli
from acdc_cli.data.source import Arrays, Samples, Source
from acdc_cli.records.headline import Headline

@acdc_cli.register_task("regression")
@dataclass(kw_only=True)
class Regression:
    headline = Headline("squared error", val_key="val_loss", direction="down")

    def loss(self, config, outputs, targets):
        return nn.functional.mse_loss(outputs, targets)

    def scores(self, outputs, targets):
        return {"val_loss": ((outputs - targets) ** 2).mean(dim=1)}

def planes(count, seed):
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return Samples(x, x[:, :1] - 2 * x[:, 1:2])

@acdc_cli.register_dataset("planes", task="regression", is_embedded=True)
@dataclass(kw_only=True)
class Planes:
    def origin(self):
        return Source(Arrays(lambda folder: {"train": planes(192, 0), "val": planes(50, 1)}, str))

@acdc_cli.register_model("curve")
@dataclass(kw_only=True)
class Curve:
    def build(self, inputs):
        return nn.Sequential(nn.Linear(*inputs.features, 16), nn.ReLU(), nn.Linear(16, *inputs.targets))
"""


@pytest.mark.exhaustive
def test_two_ranks_train_what_one_does(tmp_path: Path, command: Command) -> None:
    """In double precision: the same masks, and weights that differ by rounding."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    words = [*QUICK[:-1], "precision=fp64", "sparsity=0.5", "plugins=[./plugin.py]"]
    for name, launcher in {
        "one": ["acdc-train"],
        "two": ["torchrun", "--nproc-per-node=2", "--no-python", str(BIN / "acdc-train")],
    }.items():
        ended = command(*launcher, "--config-dir", "conf", *words, f"runs_dir={name}")
        assert ended.returncode == 0, ended.stderr
    one, two = (run_folders(tmp_path / name)[0] for name in ("one", "two"))
    assert one.path.name == two.path.name
    left, right = model_state(one), model_state(two)
    assert equal_bits(model_state(one, "masks"), model_state(two, "masks"))
    assert all(torch.allclose(left[name], right[name], atol=1e-10, rtol=0) for name in left)
    assert json.loads(two.result.read_text())["plugins"][0]["name"] == "./plugin.py"
