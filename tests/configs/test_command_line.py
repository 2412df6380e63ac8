"""What acdc-train answers without training: help, tab completion, the config in full, the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "table")


def imported(done: Any) -> set[str]:
    """Top-level packages in Python's own import log (PYTHONPROFILEIMPORTTIME), which it writes to stderr."""
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {name.partition(".")[0] for name in names}


def test_help_shows_groups_options_and_keys_without_importing_torch(command: Callable) -> None:
    done = command("acdc-train", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    for group in GROUPS:
        options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        assert f"{group}: {', '.join(options)}\n" in done.stdout
    assert "\ntable:" not in done.stdout  # a run cannot choose one
    assert [key for key in ("min_layer_density: ", "sparse_epochs: ", "runs_dir: ") if key not in done.stdout] == []
    assert "hydra" in imported(done)
    assert not {"torch", "ffcv", "wandb", "sklearn"} & imported(done)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("acdc-train sparsity=0.9 mod", {"model="}),
        ("acdc-train model=", {"model=resnet8", "model=resnet20"}),
        ("acdc-train sparsity=2:4 model=resnet2", {"model=resnet20"}),
        ("acdc-train -m sparsity=0.8,2:4 optimizer.l", {"optimizer.lr="}),
        ("acdc-train sparsity=0.8,global sched", {"schedule="}),  # bad input, and completed all the same
    ],
)
def test_bash_completion_answers_without_importing_torch(line: str, offered: set[str], command: Callable) -> None:
    surroundings = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "PYTHONPROFILEIMPORTTIME": "1"}
    done = command("acdc-train", "-sc", "query=bash", **surroundings)
    assert done.returncode == 0
    assert offered <= set(done.stdout.split())
    assert all(word.startswith(line.split()[-1]) for word in done.stdout.split())
    assert "hydra" in imported(done)
    assert "torch" not in imported(done)


def test_bash_completion_offers_no_table(command: Callable) -> None:
    """A run cannot choose one."""
    of_t = {"task=", "threads=", "tracker=", "tracker."}
    for line, offered in {"acdc-train t": of_t, "acdc-train table=": set()}.items():
        done = command("acdc-train", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
        assert (done.returncode, set(done.stdout.split())) == (0, offered)


# contract.md, "Epochs and schedules", by hand: N -> warm-up, sparse, dense, final sparse.
@pytest.mark.parametrize(
    ("typed", "epochs", "numbers"),
    [
        ("", 40, (4, 2, 2, 6)),
        ("epochs=2", 2, (1, 1, 1, 1)),
        ("epochs=20", 20, (2, 1, 1, 3)),
        ("epochs=20 schedule.sparse_epochs=3", 20, (2, 3, 1, 3)),
        ("epochs=100", 100, (10, 5, 5, 15)),
        ("epochs=1000", 1000, (10, 5, 5, 15)),
        ("schedule=imagenet_100", 100, (10, 5, 5, 15)),
        ("model=resnet20", 200, (10, 20, 20, 30)),
        ("model=resnet20 epochs=40", 40, (4, 2, 2, 6)),
        ("model=resnet20 schedule.dense_epochs=13", 200, (10, 20, 13, 30)),
    ],
)
def test_cfg_job_resolve_prints_the_config_in_full(
    typed: str, epochs: int, numbers: tuple[int, ...], acdc_train: Callable, tmp_path: Path
) -> None:
    outcome = acdc_train("--cfg", "job", "--resolve", *typed.split())
    assert (outcome.code, outcome.err) == (0, "")
    config = yaml.safe_load(outcome.out)
    assert config["epochs"] == epochs
    schedule = config["schedule"]
    assert type(config["epochs"]) is int
    names = ("warmup_epochs", "sparse_epochs", "dense_epochs", "final_sparse_epochs")
    assert tuple(schedule[name] for name in names) == numbers
    assert list(tmp_path.iterdir()) == []


def plan_of(outcome: Any) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)  # nothing but JSON; the timeline is drawn on stderr
    assert outcome.err.splitlines()[-1].endswith(f"{plan['epochs']}|")
    return plan


# ResNet-8 of width 32 on 8x8 grey images, by hand: (weights, output positions) of every layer.
LAYERS = [
    (1 * 32 * 9, 64),
    (32 * 32 * 9, 64),
    (32 * 32 * 9, 64),
    (32 * 64 * 9, 16),
    (64 * 64 * 9, 16),
    (64 * 128 * 9, 4),
    (128 * 128 * 9, 4),
    (128 * 10, 1),
]
DENSE_FLOPS = sum(2 * weights * positions for weights, positions in LAYERS)
# D[0,4), seven pairs of S2 D2 of which the last D takes the 2 epochs left over, S[34,40).
PAIRS = [
    phase for start in range(4, 32, 4) for phase in (["sparse", start, start + 2], ["dense", start + 2, start + 4])
]
EPOCHS_40 = [["dense", 0, 4], *PAIRS[:-1], ["dense", 30, 34], ["sparse", 34, 40]]


def test_plan_of_the_default_run(acdc_train: Callable, tmp_path: Path) -> None:
    plan = plan_of(acdc_train("plan=true"))
    assert plan["timeline"] == EPOCHS_40
    assert plan["prunable_weights"] == sum(weights for weights, _ in LAYERS) == 296_480
    assert plan["dense_inference_flops"] == DENSE_FLOPS == 5_937_664
    assert (plan["attention_flops"], plan["uncovered_flops"]) == (0, {})
    assert plan["epochs"] == 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "target", "inference_fraction"),
    [
        ("sparsity=0.9", 0.9, 0.1),
        ("sparsity=0.5", 0.5, 0.5),
        ("sparsity=0", 0.0, 1.0),
        ("sparsity=uniform sparsity.target=0.8", 0.8, 0.2),
        ("sparsity=uniform", 0.9, 0.1),
        # The first convolution has one input channel, which 4 does not divide: it stays dense, the others lose half.
        ("sparsity=2:4", "2:4", (2 * 288 * 64 + (DENSE_FLOPS - 2 * 288 * 64) / 2) / DENSE_FLOPS),
        (
            "sparsity=uniform sparsity.target=2:4",
            "2:4",
            (2 * 288 * 64 + (DENSE_FLOPS - 2 * 288 * 64) / 2) / DENSE_FLOPS,
        ),
        ("sparsity=1:4 sparsity.indivisible=flatten", "1:4", 0.25),
    ],
)
def test_plan_has_the_closed_form_training_fraction(
    typed: str, target: float | str, inference_fraction: float, acdc_train: Callable
) -> None:
    """3f in the 20 sparse epochs and 2F + F in the 20 dense ones, over 3F: (20 f/F + 20) / 40. Whole weights: 1e-4."""
    plan = plan_of(acdc_train("plan=true", *typed.split()))
    assert plan["sparsity_target"] == target
    assert plan["inference_flops_fraction"] == pytest.approx(inference_fraction, abs=1e-4)
    assert plan["train_flops_fraction"] == pytest.approx((20 * inference_fraction + 20) / 40, abs=1e-4)


def test_plan_keeps_a_number_that_is_given(acdc_train: Callable) -> None:
    """20 epochs: D2, then as many S3 D1 as fit into the 15 before the final S3; the last D takes the 3 left over."""
    plan = plan_of(acdc_train("plan=true", "epochs=20", "schedule.sparse_epochs=3", "sparsity=uniform"))
    assert plan["timeline"] == [
        ["dense", 0, 2],
        ["sparse", 2, 5],
        ["dense", 5, 6],
        ["sparse", 6, 9],
        ["dense", 9, 10],
        ["sparse", 10, 13],
        ["dense", 13, 17],
        ["sparse", 17, 20],
    ]
    assert plan["train_flops_fraction"] == pytest.approx((12 * 0.1 + 8) / 20, abs=1e-4)


def test_plan_of_phases_listed_in_full(acdc_train: Callable) -> None:
    plan = plan_of(acdc_train("plan=true", "schedule.phases=[[dense,0,3],[sparse,3,10]]", "sparsity=uniform"))
    assert (plan["timeline"], plan["epochs"]) == ([["dense", 0, 3], ["sparse", 3, 10]], 10)
    assert plan["train_flops_fraction"] == pytest.approx((7 * 0.1 + 3) / 10, abs=1e-4)


def test_plan_of_a_dense_run(acdc_train: Callable) -> None:
    plan = plan_of(acdc_train("plan=true", "method=dense", "sparsity=0.8", "epochs=1"))
    assert plan["timeline"] == [["dense", 0, 1]]
    assert plan["inference_flops_fraction"] == plan["train_flops_fraction"] == 1


def test_plan_needs_no_data_and_knows_resnet20(acdc_train: Callable, tmp_path: Path) -> None:
    """CIFAR-10 by hand: 19 3x3 convolutions at 32x32 (16), 16x16 (32) and 8x8 (64), and the classifier."""
    plan = plan_of(acdc_train("plan=true", "model=resnet20", "sparsity=uniform"))
    first, stage1 = 3 * 16 * 9, 6 * 16 * 16 * 9
    stage2, stage3 = 16 * 32 * 9 + 5 * 32 * 32 * 9, 32 * 64 * 9 + 5 * 64 * 64 * 9
    assert plan["prunable_weights"] == first + stage1 + stage2 + stage3 + 640
    assert plan["dense_inference_flops"] == 2 * ((first + stage1) * 1024 + stage2 * 256 + stage3 * 64 + 640)
    assert plan["train_flops_fraction"] == pytest.approx((110 * 0.1 + 90) / 200, abs=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_plan_through_the_console_script(command: Callable, tmp_path: Path) -> None:
    done = command("acdc-train", "plan=true", "sparsity=0.95")
    assert json.loads(done.stdout)["timeline"] == EPOCHS_40
    # 80 columns where there is no terminal, two for each epoch.
    bar = "█" * 8 + "░░░░████" * 6 + "░░░░" + "█" * 8 + "░" * 12
    ticks = "".join(f"|{epoch}".ljust(10) for epoch in range(0, 40, 5))[:77] + "40|"
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "█ dense 20 epochs in 8 phases   ░ sparse 20 epochs in 8 phases",
        bar,
        ticks,
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def own_experiment(tmp_path: Path) -> tuple[str, ...]:
    """Arguments that choose an experiment from a folder of the user's."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    content = "# @package _global_\ndefaults:\n  - override /method: dense\nepochs: 7\n"
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(content)
    return ("--config-dir", str(tmp_path / "mine"), "experiment=own")


def test_a_users_own_experiment_can_be_planned(own_experiment: tuple[str, ...], acdc_train: Callable) -> None:
    assert plan_of(acdc_train(*own_experiment, "plan=true"))["timeline"] == [["dense", 0, 7]]


def test_a_users_own_experiment_can_be_printed(own_experiment: tuple[str, ...], acdc_train: Callable) -> None:
    outcome = acdc_train(*own_experiment, "--cfg", "job", "--resolve")
    assert (outcome.code, outcome.err) == (0, "")
    config = yaml.safe_load(outcome.out)
    assert (config["epochs"], config["method"]["name"], config["run"]["experiment"]) == (7, "dense", "own")
