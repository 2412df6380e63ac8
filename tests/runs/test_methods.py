"""Every method from the command line: its sparsity, its cost, its files, and going on in the middle."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.every_method import learns_sparsity, prunes_trained, sparse_methods
from helpers.support import Command
from helpers.training import equal_bits, model_state, position, train, without_times

from acdc_cli.config.compose import compose_config
from acdc_cli.config.text import from_yaml
from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.errors import AcdcError, BadInput, Interrupted
from acdc_cli.models.build import build_model
from acdc_cli.models.inputs import ImageInputs
from acdc_cli.planning.method_needs import check_memory
from acdc_cli.planning.plan import plan
from acdc_cli.planning.settle import settle
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity import fisher_estimate, fisher_memory
from acdc_cli.training import execute as execution
from acdc_cli.training import loop
from acdc_cli.training.group import ALONE

METHODS = sparse_methods()
OF_ITS_OWN = {method: ["method.interval_steps=7"] for method in ("gmp", "rigl", "set", "top_kast", "iht")}
OF_ITS_OWN["str"] = ["method.s_init=-5", "method.s_weight_decay=0.1"]  # in 48 steps
OF_ITS_OWN["sparse_vd"] = ["method.kl_weight=0.3", "optimizer.lr=0.02"]
OF_ITS_OWN["woodfisher"] = ["method.fisher_samples=50", "method.fisher_batch=4", "method.fisher_block=20"]
SHORT = ["epochs=4", "batch_size=128", "model.width=32"]  # 12 steps an epoch
RESNET8 = {  # of width 32, one grey channel: name -> weights
    "conv1": 288,
    "layer1.0.conv1": 9216,
    "layer1.0.conv2": 9216,
    "layer2.0.conv1": 18432,
    "layer2.0.conv2": 36864,
    "layer3.0.conv1": 73728,
    "layer3.0.conv2": 147456,
    "fc": 1280,
}


def typed(method: str) -> list[str]:
    return [*SHORT, f"method={method}", "sparsity=0.9", *OF_ITS_OWN.get(method, [])]


def nonzeros(state: dict) -> dict[str, int]:
    return {name: int(state[f"{name}.weight"].count_nonzero()) for name in RESNET8}


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", METHODS)
def test_it_ends_at_the_sparsity_that_was_asked_for_and_goes_on_after_a_crash(
    method: str, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", data_dir, *typed(method))
    result, kept = whole.read_result(), nonzeros(model_state(whole))
    total = sum(RESNET8.values())
    if method == "top_kast":  # uniform: every layer by itself
        assert kept == {name: count - round(0.9 * count) for name, count in RESNET8.items()}
    elif learns_sparsity(method):  # only indirectly
        assert sum(kept.values()) == result["nonzero_weights"] < 0.95 * total
        assert result["sparsity_of_pruned_layers"] == pytest.approx(1 - sum(kept.values()) / total)
    else:
        assert sum(kept.values()) == total - round(0.9 * total) == result["nonzero_weights"]
    assert result["method"] == method and result["sparsity_target"] == 0.9
    assert (result["dense"] is not None) == (method in ("acdc", "dsd", "sparse_vd"))
    real, calls = execution.run_epoch, []

    def interrupted(*arguments: object) -> dict:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(execution, "run_epoch", interrupted)
    broken = tmp_path / "broken"
    dense = ["start_from=" + str(next((tmp_path / "whole").rglob("*-dense-*")))] if prunes_trained(method) else []
    with pytest.raises(Interrupted):
        train(broken, data_dir, *typed(method), *dense)
    monkeypatch.setattr(execution, "run_epoch", real)
    resumed = train(broken, data_dir, *typed(method), *dense)
    assert equal_bits(model_state(whole), model_state(resumed))
    assert without_times(whole) == without_times(resumed)


@pytest.mark.exhaustive
def test_what_the_methods_cost(tmp_path: Path, data_dir: Path) -> None:
    """Over 3F: f is the run's own inference fraction where the masks are of one density throughout."""
    ran = {
        method: train(tmp_path, data_dir, *typed(method)).read_result()
        for method in ("static", "rigl", "magnitude", "sparse_vd")
    }
    f = ran["static"]["sparse"]["inference_flops_fraction"]
    assert ran["static"]["train_flops_fraction"] == pytest.approx(f, abs=1e-9)
    assert ran["sparse_vd"]["train_flops_fraction"] == 2  # AC/DC, appendix B.5
    # 48 steps; up to step 37 every 7th one (7, 14, 21, 28, 35) takes all gradients: five times (F - f) / 3.
    assert ran["rigl"]["train_flops_fraction"] == pytest.approx(f + 5 / 48 * (1 - f) / 3, rel=2e-3)
    magnitude = ran["magnitude"]
    assert magnitude["train_flops_fraction"] == pytest.approx(1 + magnitude["sparse"]["inference_flops_fraction"])
    dense = RunFolder(next(tmp_path.rglob("*-dense-*"))).read_result()
    assert magnitude["seconds_before"] == dense["seconds"]
    assert ran["rigl"]["seconds_before"] == 0


def test_gmp_prunes_a_dense_run_of_another_recipe(tmp_path: Path, data_dir: Path) -> None:
    """One epoch of it at 3F an image, and two of its own on top; over two dense epochs."""
    line = ["method=gmp", "sparsity=0.9", "batch_size=256", "epochs=2", "method.interval_steps=3", "precision=fp32"]
    recipe = 'dense_run=["epochs=1","batch_size=128","optimizer.lr=0.05","precision=fp32"]'
    pruned = train(tmp_path, data_dir, *line, recipe, "seed=3")
    (dense,) = (RunFolder(path) for path in tmp_path.rglob("*-dense-*"))
    made = compose_config(["epochs=1", "batch_size=128", "optimizer.lr=0.05", "method=dense", "seed=3"])
    config = from_yaml(dense.config.read_text())
    for key in ("epochs", "batch_size", "optimizer", "lr_schedule", "method", "seed"):
        assert getattr(config, key) == getattr(made, key)
    assert config.threads == 1
    result, rows = pruned.read_result(), pruned.read_metrics()
    assert result["started_from"] == str(dense.path)
    forward = result["dense_inference_flops"]
    assert result["train_flops_total"] == 1437 * (3 * forward + sum(row["train_flops"] for row in rows))
    assert result["train_flops_fraction"] == pytest.approx(result["train_flops_total"] / (2 * 1437 * 3 * forward))
    planned = [plan(compose_config([*line, *more]))["train_flops_fraction"] for more in ([recipe], [])]
    assert planned[0] == pytest.approx(planned[1] + 1 / 2)


@pytest.mark.slow
def test_what_woodfisher_costs(tmp_path: Path, data_dir: Path) -> None:
    """One-shot: a dense run, 50 * 4 samples at 3F, and 3f for each of 1437; the charge is in the first epoch's row."""
    run = train(tmp_path, data_dir, *typed("woodfisher"), "epochs=2")
    result, rows = run.read_result(), run.read_metrics()
    forward, f = result["dense_inference_flops"], rows[0]["inference_flops"]
    assert rows[1]["inference_flops"] == f  # the mask is fixed
    assert [row["train_flops"] for row in rows] == [3 * f + round(200 * 3 * forward / 1437), 3 * f]
    assert rows[0]["train_flops_total"] == 1437 * (2 * 3 * forward + rows[0]["train_flops"])


@pytest.mark.exhaustive
def test_gradual_woodfisher_goes_on_inside_an_epoch(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs 1 and 2 of 4 prune, to 90 - 85 = 5% and to 90%: stopped in the fifth step of each."""
    line = [*typed("woodfisher"), "method.start=0.25", "method.end=0.5", "method.interval_epochs=1"]
    whole = train(tmp_path / "whole", data_dir, *line)
    total = sum(RESNET8.values())
    rows = whole.read_metrics()
    assert [round(row["sparsity"] * total) for row in rows] == [0, *(round(s * total) for s in (0.05, 0.9, 0.9))]
    assert [row["phase"] for row in rows] == ["dense", "dense", "sparse", "sparse"]
    forward, light = rows[0]["inference_flops"], rows[1]["inference_flops"]
    assert rows[0]["train_flops"] == 3 * forward
    assert rows[1]["train_flops"] == 3 * light + round(200 * 3 * forward / 1437)
    assert rows[2]["train_flops"] == 3 * rows[2]["inference_flops"] + round(200 * 3 * light / 1437)
    dense = "start_from=" + str(next((tmp_path / "whole").rglob("*-dense-*")))
    real = loop.seed_step

    def interrupting(at: int) -> None:
        def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
            real(seed, epoch, step, rank)
            if (epoch, step) == (at, 4):
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(loop, "seed_step", seed_step)

    for epoch in (1, 2):
        interrupting(epoch)
        with pytest.raises(Interrupted):
            train(tmp_path / "broken", data_dir, *line, dense)
        assert position(tmp_path / "broken") == (epoch, 5)
    monkeypatch.setattr(loop, "seed_step", real)
    resumed = train(tmp_path / "broken", data_dir, *line, dense)
    assert equal_bits(model_state(whole), model_state(resumed))
    assert without_times(whole) == without_times(resumed)


def test_woodfisher_and_magnitude_prune_the_same_dense_run(tmp_path: Path, data_dir: Path) -> None:
    runs = [train(tmp_path, data_dir, *typed(method), "epochs=1") for method in METHODS if prunes_trained(method)]
    assert len(list(tmp_path.rglob("*-dense-*/result.json"))) == 1
    assert len({run.read_result()["started_from"] for run in runs}) == 1


def test_a_fisher_sample_of_more_images_than_there_are(tmp_path: Path, data_dir: Path) -> None:
    """1437 of them. Said before the dense run, where the data are there."""
    open_dataset("digits", str(data_dir))
    for typed_here, nearest in (
        (["method.fisher_samples=1438"], "fisher_samples=1437"),
        (["method.fisher_samples=500", "method.fisher_batch=3"], "fisher_samples=479"),
        (["method.fisher_samples=1", "method.fisher_batch=2000"], "fisher_batch=1437"),
    ):
        with pytest.raises(BadInput, match=f"1437 to train on; nearest: method.{nearest}$"):
            train(tmp_path, data_dir, "method=woodfisher", *typed_here)
    assert list(tmp_path.iterdir()) == []


def test_a_fisher_block_that_does_not_fit(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """296,480 weights: blocks of 1000 take 1.1 GiB; a machine of 256 MiB has room for 200, of which half is for 100.

    What null becomes is what the machine could have; what it has free is looked at before anything begins.
    """
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: 2**28)
    monkeypatch.setattr(fisher_memory, "total_bytes", lambda device: 2**28)
    with pytest.raises(
        BadInput, match=r"fisher_block=1000: its inverses need 1\.\d GiB of memory, and 0\.2 GiB are free"
    ):
        train(tmp_path, data_dir, "model.width=32", "method=woodfisher", "method.fisher_block=1000")
    assert list(tmp_path.iterdir()) == []
    config = compose_config(["method=woodfisher", "method.fisher_block=null"])
    assert settle(config, print).method.options.fisher_block == 100
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: 10**8)
    with pytest.raises(BadInput, match=r"fisher_block=100: its .* 0\.1 GiB are free; nearest: method.fisher_block=20$"):
        train(tmp_path, data_dir, "model.width=32", "method=woodfisher", "method.fisher_block=null")
    assert list(tmp_path.iterdir()) == []


def test_a_pruning_that_is_done_needs_no_memory(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = train(tmp_path, data_dir, *typed("woodfisher"), *TINY)
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: 0)
    assert train(tmp_path, data_dir, *typed("woodfisher"), *TINY).path == done.path


@pytest.mark.parametrize(("total", "block"), [(24, 100), (80, 200), (3, 10), (0.5, 1)])
def test_the_fisher_block_of_resnet50(total: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """25,502,912 weights; of a machine of so many GiB half is for the inverses, 4 bytes * weights * block."""
    monkeypatch.setattr(fisher_memory, "total_bytes", lambda device: int(total * 2**30))
    monkeypatch.setattr(fisher_memory, "available_bytes", lambda device: int(total * 2**30))
    typed_here = ["model=resnet50", "method=woodfisher", "device=cpu"]
    config = settle(compose_config([*typed_here, "method.fisher_block=null"]), lambda line: None)
    assert config.method.options.fisher_block == block
    check_memory(config, ALONE.ranks)
    with pytest.raises(
        BadInput, match=rf"fisher_block=2000: its inverses need 1\d\d\.\d GiB .* {total:.1f} GiB are free"
    ):
        check_memory(compose_config([*typed_here, "method.fisher_block=2000"]), ALONE.ranks)


def test_a_device_without_room_for_the_passes_is_one_line(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(fisher_estimate, "scaled_identity", full)
    with pytest.raises(AcdcError, match=r"method=woodfisher: the device's memory is full in epoch 1.*fisher_block"):
        train(tmp_path, data_dir, *typed("woodfisher"), *TINY)


def test_a_fisher_matrix_of_a_diverged_network(tmp_path: Path, data_dir: Path) -> None:
    state = build_model(compose_config([]).model, ImageInputs(1, 32, 32, 10)).state_dict()
    state["fc.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(AcdcError, match="method=woodfisher cannot prune in epoch 1: gradient 1 of the Fisher sample"):
        train(tmp_path, data_dir, *typed("woodfisher"), f"start_from={tmp_path / 'nan.pt'}")


def test_gradual_pruning_follows_its_schedule(tmp_path: Path, data_dir: Path) -> None:
    """12 steps an epoch, from step 12 to 36, every 12: 5%, then 90 - 85 / 8 = 79.375%, then 90%."""
    run = train(tmp_path, data_dir, *SHORT, "method=gmp", "method.interval_steps=12", "sparsity.min_layer_density=0")
    total = sum(RESNET8.values())
    asked = [0.05, 0.9 - 0.85 / 8, 0.9, 0.9]
    assert [row["sparsity"] for row in run.read_metrics()] == [round(each * total) / total for each in asked]
    assert [row["phase"] for row in run.read_metrics()] == ["dense", "dense", "sparse", "sparse"]


def test_rigl_over_uniform_layers_keeps_the_first_one_dense(tmp_path: Path, data_dir: Path) -> None:
    run = train(tmp_path, data_dir, *SHORT, "method=rigl", "sparsity=uniform", "sparsity.target=0.9", "epochs=1")
    kept = nonzeros(model_state(run))
    assert kept["conv1"] == 288 and kept["fc"] == 1280 - round(0.9 * 1280)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("method=gmp sparsity=2:4", "N:M is for acdc"),
        ("method=rigl sparsity=2:4", "N:M is for acdc"),
        ("method=set sparsity=block", "use sparsity.block=null"),
        ("method=str sparsity=2:4", "N:M is for acdc"),
        ("method=str sparsity=block", "use sparsity.block=null"),
        ("method=str sparsity.rules={first:0.5}", "sparsity.rules={first:0.5}: method=str learns"),
        ("method=str method.s_init=null", "conf/method/str.yaml"),
        ("method=str method.s_weight_decay=-1", "nearest: method.s_weight_decay=0"),
        ("method=top_kast sparsity=0.3", "nearest: method.backward_sparsity=0.3"),
        ("method=dsd epochs=2", "nearest: epochs=3"),
        ("method=sparse_vd sparsity=2:4", "N:M is for acdc"),
        ("method=sparse_vd sparsity=block", "use sparsity.block=null"),
        ("method=sparse_vd sparsity.rules={first:0.5}", "sparsity.rules={first:0.5}: method=sparse_vd learns"),
        ("method=sparse_vd method.kl_weight=null", "conf/method/sparse_vd.yaml"),
        ("method=woodfisher_gradual sparsity=2:4", "nearest: method.end=0.01, or a fraction"),
        ("method=woodfisher method.start=0.5", "nearest: method.start=0.0"),
        ("method=woodfisher method.fisher_damping=0", "method.fisher_damping=0"),
        ("method=gmp method.start=0.8", "nearest: method.start=0.75"),
        ("method=gmp method.power=null", "conf/method/gmp.yaml"),
        ("method=rigel", "did you mean method=rigl"),
        ("method=magnitude start_from=nowhere", "no such file"),
        ("method=gmp sparsity=0.03", "nearest: method.initial_sparsity=0.03"),
        ("method=gmp sparsity.rules={fc:0.01}", "nearest: method.initial_sparsity=0.01"),
        ("method=rigl sparsity=0", "use method=dense"),
        ("method=set sparsity=0", "use method=dense"),
        ("method=snip sparsity=0", "use method=dense"),
        ("method=top_kast sparsity=0", "use method=dense"),
        ("method=rigl sparsity=1.0", "did you mean 0.99?"),
        ("method=rigl sparsity=0.99999 sparsity.min_layer_density=0", "nearest: sparsity.target=0.999"),
        # conv1 keeps half a weight of 288: the round one is none.
        ("method=snip sparsity=uniform sparsity.target=0.999 sparsity.min_layer_density=0", "conv1.weight would keep"),
        ("method=static sparsity=2:5", "divisible by 5"),
        ("method=rigl sparsity.distribution=global sparsity.rules={fc:2:4}", "N:M is for acdc"),
        ("method=top_kast sparsity=2:4", "N:M is for acdc"),
        ("method=set sparsity=2:4", "N:M is for acdc"),
    ],
)
def test_what_a_method_cannot_do_is_one_line(line: str, said: str, program: Command, tmp_path: Path) -> None:
    ended = program(*line.split(), "tracker=none", "loader=device")
    assert ended.returncode == (3 if "nowhere" in line else 2) and said in ended.stderr, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "key", "unread"),
    [("str", "s_weight_decay", ["sparsity.min_layer_density=0.1"]), ("sparse_vd", "kl_weight", [])],
)
def test_a_run_says_what_it_reached_of_what_was_asked(
    method: str, key: str, unread: list[str], tmp_path: Path, data_dir: Path, program: Command
) -> None:
    """When it ends, and when it is found again; how a sparsity would be spread is nothing it reads."""
    typed = ["epochs=1", f"method={method}", "threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}"]
    said = []
    for more in (["sparsity=0.9"], ["sparsity=erk", "sparsity.target=0.9", *unread]):
        ended = program(*typed, *more, f"runs_dir={tmp_path}")
        assert ended.returncode == 0, ended.stderr
        said += [line for line in ended.stderr.splitlines() if "was asked for" in line]
    (result,) = tmp_path.rglob("result.json")
    reached = json.loads(result.read_text())["sparsity_of_pruned_layers"]
    assert said == [said[0]] * 2
    assert said[0].startswith(f"acdc-train: sparsity 0.9 was asked for, {reached:.4f} is reached: method={method}")
    assert f"method.{key}" in said[0] and "acdc-search" in said[0]


def test_a_key_that_a_method_does_not_read_makes_no_other_run(program: Command) -> None:
    plans = [program("plan=true", "method=snip", *more).stdout for more in ([], ["method.drop_fraction=0.5"])]
    assert plans[0] == plans[1] != ""


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_is_a_fraction(method: str, program: Command, tmp_path: Path) -> None:
    fraction = json.loads(program("plan=true", f"method={method}", "sparsity=0.9").stdout)["train_flops_fraction"]
    assert math.isfinite(fraction) and (
        1 < fraction < 2 if prunes_trained(method) else fraction == 2 if method == "sparse_vd" else 0 < fraction < 1
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "method", [method for method in METHODS if method != "str"]
)  # a plan cannot know what it learns
def test_a_run_costs_what_its_plan_says(method: str, tmp_path: Path, data_dir: Path) -> None:
    """Up to SNIP's dense first step, RigL's dense gradients, and GMP's steps between the ends of epochs."""
    often = ["method.interval_steps=1"] if method == "gmp" else []
    spread = ["sparsity=uniform", "sparsity.target=0.75", "epochs=4", "batch_size=240", "precision=fp32"]
    words = [f"method={method}", *spread, *(OF_ITS_OWN[method] if method == "woodfisher" else often), "model.width=8"]
    planned = plan(compose_config(words))["train_flops_fraction"]
    spent = train(tmp_path, data_dir, *words).read_result()["train_flops_fraction"]
    assert spent == pytest.approx(planned, rel=0.05)


TINY = ["epochs=1", "batch_size=240", "model.width=4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> dict[str, RunFolder]:
    """A run of a method without a dense model, and one with."""
    runs = tmp_path_factory.mktemp("finished")
    return {method: train(runs, data_dir, *TINY, f"method={method}") for method in ("static", "dense")}


@pytest.mark.parametrize(
    ("start", "code", "said"),
    [
        ("nowhere", 3, "no such file and no such run folder"),
        ("folder", 2, "not a run folder"),
        ("static run", 2, "method=static makes no dense model"),
        ("sparse file", 2, "90.0% of its weights are zero already"),
        ("run that has only begun", 3, "the run has no dense model (yet)"),
        ("other model's file", 2, "not weights of model=resnet8"),
        ("empty", 2, "start_from=: is empty"),
    ],
)
def test_magnitude_without_a_dense_checkpoint_is_one_line(
    start: str, code: int, said: str, program: Command, tmp_path: Path, finished: dict[str, RunFolder]
) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.yaml").write_text(finished["dense"].config.read_text())
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    path = {
        "nowhere": "nowhere",
        "folder": str(tmp_path),
        "static run": str(finished["static"].path),
        "sparse file": str(finished["static"].models / "sparse.safetensors"),
        "run that has only begun": str(begun),
        "other model's file": "other.pt",
        "empty": "",
    }[start]
    before = sorted(tmp_path.rglob("*"))
    ended = program("method=magnitude", f"start_from={path}", *TINY, "tracker=none", "loader=device")
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
    assert said in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_magnitude_takes_a_dense_run_and_a_dense_file(
    tmp_path: Path, data_dir: Path, finished: dict[str, RunFolder]
) -> None:
    run, file = finished["dense"].path, finished["dense"].models / "dense.safetensors"
    first, second = (
        train(tmp_path / str(index), data_dir, *TINY, "method=magnitude", f"start_from={start}")
        for index, start in enumerate((run, file))
    )
    assert equal_bits(model_state(first), model_state(second))
    # Of the run what it cost is known, and counts.
    spent = finished["dense"].read_result()["train_flops_total"]
    assert first.read_result()["train_flops_total"] == spent + second.read_result()["train_flops_total"]


def test_an_epoch_that_ends_with_a_move_is_charged_by_connections(tmp_path: Path, data_dir: Path) -> None:
    """6 steps an epoch, moved every 6: right after a move 0.15 of what is there and as much of what grew is zero."""
    typed = ["epochs=4", "batch_size=240", "sparsity=0.75", "sparsity.distribution=uniform"]
    run = train(tmp_path, data_dir, *typed, "method=set", "method.interval_steps=6", "method.drop_fraction=0.5")
    rows, kept = run.read_metrics(), sum(RESNET8.values()) - round(0.75 * sum(list(RESNET8.values())[1:]))
    assert rows[0]["sparsity"] > 0.8 > rows[-1]["sparsity"]  # the first ends with a move, the last cannot
    assert len({row["train_flops"] for row in rows}) == 1
    # Some that grew last never get a gradient: dead channels.
    assert rows[-1]["sparsity"] == pytest.approx(1 - kept / sum(RESNET8.values()), abs=0.005)
    assert rows[-1]["train_flops"] == pytest.approx(3 * rows[-1]["inference_flops"], rel=0.02)
    assert rows[0]["train_flops"] > 1.1 * 3 * rows[0]["inference_flops"]


@pytest.mark.parametrize("method", ["rigl", "set"])
def test_the_runs_last_step_never_moves_connections(method: str, tmp_path: Path, data_dir: Path) -> None:
    """Every step is due and the window as long as the run: still every connection has had a step of the optimizer."""
    typed = ["epochs=1", "batch_size=240", "sparsity=0.5", "model.width=8", "method.interval_steps=1"]
    run = train(tmp_path, data_dir, *typed, f"method={method}", "method.end=1.0", "method.drop_fraction=1.0")
    result = run.read_result()
    # A last move, of (1 + cos(5 pi / 6)) / 2, would leave 6.7% of the connections at 0.
    assert 0.5 <= round(result["sparsity"], 3) < 0.51


def test_layers_that_snip_leaves_next_to_nothing_are_named(tmp_path: Path, data_dir: Path) -> None:
    """Its masks are chosen by the first step, after the epoch has begun."""
    typed = [*TINY, "epochs=2", "sparsity=0.99", "sparsity.min_layer_density=0", "run.starved_below=100000"]
    rows = train(tmp_path, data_dir, *typed, "method=snip").read_metrics()
    assert set(rows[0]["starved_layers"]) == {f"{name}.weight" for name in RESNET8}
    assert rows[1]["starved_layers"] is None
