"""Bad input ends with exit code 2 and one line: the key, the value and the nearest valid choice.

Data that is not there ends with exit code 3, and is looked for only when what was typed is in order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

# What is typed -> what the line has to contain: key and value first, then the nearest valid choice.
TYPOS = {
    "sparsty=0.9": ["sparsty=0.9", "sparsity=0.9"],
    "epoch=20": ["epoch=20", "epochs=20"],
    "optimiser=sgd": ["optimiser=sgd", "optimizer=sgd"],
    "optimizer.momentun=0.5": ["optimizer.momentun=0.5", "optimizer.momentum=0.5"],
    "schedule.sparse_epoch=3": ["schedule.sparse_epoch=3", "schedule.sparse_epochs=3"],
    "momentum=0.5": ["momentum=0.5", "optimizer.momentum=0.5"],
    "sparse_epochs=3": ["sparse_epochs=3", "schedule.sparse_epochs=3"],
    "batch=32": ["batch=32", "batch_size=32"],
    "+foo=1": ["foo=1", "did you mean"],
    "++foo=1": ["foo=1", "did you mean"],
    "+optimizer.momentun=0.5": ["optimizer.momentun=0.5", "optimizer.momentum=0.5"],
    "+schedule.sparse_epoch=3": ["schedule.sparse_epoch=3", "schedule.sparse_epochs=3"],
    "~sparsty": ["sparsty", "sparsity"],
    "epochs": ["epochs", "key=value"],
    "schedule.published.foo=1": ["schedule.published.foo=1"],
}
OPTIONS = {
    "model=resnet21": ["model=resnet21", "model=resnet20"],
    "dataset=cifar11": ["dataset=cifar11", "dataset=cifar10"],
    "optimizer=sdg": ["optimizer=sdg", "optimizer=sgd"],
    "lr_schedule=cosin": ["lr_schedule=cosin", "lr_schedule=cosine"],
    "schedule=epochs_41": ["schedule=epochs_41", "schedule=epochs_40"],
    "method=adcd": ["method=adcd", "method=acdc"],
    "precision=fp8": ["precision=fp8", "precision=fp"],
    "tracker=wandbb": ["tracker=wandbb", "tracker=wandb"],
    "experiment=digits_59": ["experiment=digits_59", "experiment=digits_95"],
    "sparsity=globl": ["sparsity=globl", "sparsity=global"],
    "loader=fcv": ["loader=fcv", "loader=ffcv"],
    "device=cud": ["device=cud", "device=cuda"],
    "sparsity.distribution=unifrom": ["sparsity.distribution=unifrom", "sparsity.distribution=uniform"],
    "tracker.mode=ofline": ["tracker.mode=ofline", "tracker.mode=offline"],
    "model.shortcut=convs": ["model.shortcut=convs", "model.shortcut=conv"],
    "table=table1": ["table=table1", "acdc-report table1 --run"],
}
NUMBERS = {
    "sparsity=1": ["sparsity.target=1", "0.99"],
    "sparsity=1.5": ["sparsity.target=1.5", "[0, 1)"],
    "sparsity=90": ["sparsity.target=90", "0.9"],
    "sparsity=-0.1": ["sparsity.target=-0.1", "0"],
    "sparsity=nan": ["sparsity.target=nan", "[0, 1)"],
    "sparsity=90%": ["sparsity.target=90%", "0.9"],
    "sparsity.target=high": ["sparsity.target=high", "0.9", "2:4"],
    "sparsity=4:2": ["sparsity.target=4:2", "2:4"],
    "sparsity=4:4": ["sparsity.target=4:4", "2:4"],
    "sparsity=0:4": ["sparsity.target=0:4", "2:4"],
    "sparsity=2:5": ["sparsity.target=2:5", "divisible by 5"],  # channels are 3, 32, 64 and 128
    "sparsity.min_layer_density=0.2": ["sparsity.min_layer_density=0.2", "0.1"],
    "epochs=0": ["epochs=0", "epochs=1"],
    "epochs=1": ["epochs=1", "epochs=2"],
    "epochs=-3": ["epochs=-3", "epochs=1"],
    "seed=-1": ["seed=-1", "seed=0"],
    "batch_size=0": ["batch_size=0", "batch_size=1"],
    "threads=0": ["threads=0", "threads=1"],
    "workers=-1": ["workers=-1", "workers=0"],
    "optimizer.lr=0": ["optimizer.lr=0", "above 0"],
    "optimizer.lr=-0.1": ["optimizer.lr=-0.1", "above 0"],
    "optimizer.lr=nan": ["optimizer.lr=nan", "above 0"],
    "optimizer.lr=inf": ["optimizer.lr=inf"],
    "optimizer.weight_decay=-1": ["optimizer.weight_decay=-1", "optimizer.weight_decay=0"],
    "optimizer.momentum=1": ["optimizer.momentum=1", "below 1"],
    "label_smoothing=1": ["label_smoothing=1", "below 1"],
    "model.depth=9": ["model.depth=9", "model.depth=8"],
    "model.width=0": ["model.width=0", "model.width=1"],
    "optimizer.lr_batch_size=0": ["optimizer.lr_batch_size=0", "optimizer.lr_batch_size=1"],
    "dataset.crop_padding=-1": ["dataset.crop_padding=-1", "dataset.crop_padding=0"],
    "schedule.sparse_epochs=0": ["schedule.sparse_epochs=0", "schedule.sparse_epochs=1"],
    "schedule.warmup_epochs=-1": ["schedule.warmup_epochs=-1", "schedule.warmup_epochs=0"],
    # 100 dense epochs and the final 6 sparse ones of 40 epochs.
    "schedule.warmup_epochs=100": ["schedule.warmup_epochs=100", "epochs=106"],
}
TYPES = {
    "optimizer.lr=abc": ["optimizer.lr=abc:", "number"],
    "epochs=ten": ["epochs=ten:", "whole number"],
    "epochs=20.5": ["epochs=20.5:", "whole number"],
    "seed=true": ["seed=", "rue:", "whole number"],
    "precision.compile=auto": ["precision.compile=auto", "true", "false"],
    "dataset.flip=maybe": ["dataset.flip=maybe", "true", "false"],
    "lr_schedule.milestones=abc": ["lr_schedule.milestones=abc", "["],
    "optimizer.momentum=null": ["optimizer.momentum=null", "0"],
    "~seed": ["seed", "seed="],
}
GROUPS = {
    "lr=0.1": ["lr=0.1", "optimizer.lr=0.1"],
    "optimizer=0.1": ["optimizer=0.1", "optimizer.lr=0.1"],
    "lr_schedule=0.1": ["lr_schedule=0.1", "optimizer.lr=0.1"],
    "schedule=20": ["schedule=20", "epochs=20"],
    "optimizer=[sgd]": ["optimizer=", "sgd"],
    "sparsity=[0.8,0.9]": ["sparsity=[0.8, 0.9]", "global, uniform"],
    "sparsity=0.8,global": ["sparsity=0.8,global"],
    "sparsity=2:4,uniform": ["sparsity=2:4,uniform"],
    "sparsity=0.8,0.9": ["sparsity", "0.8,0.9", "-m"],
    "seed=0,1": ["seed=0,1", "-m"],
}
FAMILIES = {
    "model=resnet50 model.width=64": ["model.width=64", "model.family=resnet50", "model.width=null"],
    "model=mobilenet_v1 model.depth=20": ["model.depth=20", "model.family=mobilenet_v1", "model.depth=null"],
    "model=resnet50 model.shortcut=conv": ["model.shortcut=conv", "model.shortcut=null"],
    "model.depth=null": ["model.depth=null", "model.family=cifar_resnet", "model.depth=20"],
    "model.dropout=0.3": ["model.dropout=0.3", "model.family=cifar_resnet", "model.dropout=null"],
    "model=wide_resnet_28_10 model.dropout=null": ["model.dropout=null", "model.family=wide_resnet", "0.3"],
    "model=wide_resnet_28_10 model.dropout=1": ["model.dropout=1", "below 1"],
    "model=wide_resnet_28_10 model.depth=27": ["model.depth=27", "6n + 4", "model.depth=28"],
    "model=wide_resnet_28_10 model.depth=8": ["model.depth=8", "6n + 4", "model.depth=10"],
    "model=wide_resnet_28_10 model.shortcut=conv": ["model.shortcut=conv", "model.shortcut=null"],
    "model=timm model.width=3": ["model.width=3", "model.family=timm", "model.width=null"],
    "model.name=resnet18": ["model.name=resnet18", "model=timm", "model=torchvision", "run.name"],
    "model=resnet50 model.name=resnet101": ["model.name=resnet101", "model=torchvision"],
    "model=torchvision model.name=resnet19 dataset=cifar100": ["model.name=resnet19", "model.name=resnet18"],
    "model=timm model.name=resnet19 dataset=cifar100": ["model.name=resnet19", "model.name=resnet18"],
    "model=timm model.name=vit_tiny_patch16_224 dataset=cifar100": ["model.name=vit_tiny_patch16_224", "3 x 32 x 32"],
    "model=torchvision dataset=digits": ["model.name=resnet18", "3 channels", "model=timm"],
    "model.shortcut=null": ["model.shortcut=null", "model.shortcut=identity"],
    "model.family=resnet_50": ["model.family=resnet_50", "model.family=resnet50"],
    "dataset.crop_padding=null": ["dataset.crop_padding=null", "0"],
    "dataset=imagenet dataset.crop_padding=4": ["dataset.crop_padding=4", "dataset.crop_padding=null"],
}
SCHEDULES = {
    "schedule.phases=[[dense,0,4],[sparse,5,10]]": ["schedule.phases=[[dense,0,4],[sparse,5,10]]", "gap", "epoch 4"],
    "schedule.phases=[[dense,1,4],[sparse,4,10]]": ["schedule.phases=[[dense,1,4],[sparse,4,10]]", "gap", "epoch 0"],
    "schedule.phases=[[dense,0,4],[sparse,3,10]]": ["[[dense,0,4],[sparse,3,10]]", "overlap", "epoch 4"],
    "schedule.phases=[[dense,0,4],[sparse,4,4]]": ["[[dense,0,4],[sparse,4,4]]", "S[4,4) is empty"],
    "schedule.phases=[[dense,0,4],[sparse,4,8],[dense,8,9]]": [
        "[[dense,0,4],[sparse,4,8],[dense,8,9]]",
        "end",
        "sparse",
    ],
    "schedule.phases=[[dense,0,4]]": ["schedule.phases=[[dense,0,4]]", "end", "sparse"],
    "schedule.phases=[[sparse,0,4]]": ["schedule.phases=[[sparse,0,4]]", "dense"],
    "schedule.phases=[[warm,0,4],[sparse,4,8]]": ["[[warm,0,4],[sparse,4,8]]", "dense", "sparse"],
    "schedule.phases=[[dense,0,4.5],[sparse,4.5,8]]": ["[[dense,0,4.5],[sparse,4.5,8]]"],
    "schedule.phases=[]": ["schedule.phases=[]"],
    "schedule.phases=40": ["schedule.phases=40", "[[dense,0,10],[sparse,10,20]]"],
    "schedule.phases=[[dense,0,4],[sparse,4,8]] epochs=16": ["epochs=16", "epochs=8"],
    "schedule.phases=[[dense,0,4],[sparse,4,8]] schedule.sparse_epochs=3": [
        "schedule.sparse_epochs=3",
        "schedule.phases",
    ],
}
BAD = TYPOS | OPTIONS | NUMBERS | TYPES | GROUPS | FAMILIES | SCHEDULES

# `make test` types every second of each kind, `make test-all` all of them.
TYPED = [pytest.param(typed, marks=() if index % 2 == 0 else pytest.mark.exhaustive) for index, typed in enumerate(BAD)]


@pytest.mark.parametrize("typed", TYPED)
def test_bad_input_is_one_line_and_exit_code_2(typed: str, acdc_train: Callable, tmp_path: Path) -> None:
    # There is no CIFAR-10 here: what slips through ends with 3, not with a training.
    outcome = acdc_train("dataset=cifar10", *typed.split(" "))
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert outcome.err.startswith("acdc-train: error: ")
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert [part for part in BAD[typed] if part not in outcome.err] == [], outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("typed", ["sparsity=0.8,global", "optimizer=sgd,sdg", "seed=0,1 sparsty=0.9"])
def test_a_sweep_is_refused_before_its_first_job(typed: str, acdc_train: Callable, tmp_path: Path) -> None:
    outcome = acdc_train("-m", *typed.split(" "))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1 and typed.split(" ")[-1].partition("=")[0] in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_of_which_nothing_could_start_is_exit_code_2(acdc_train: Callable) -> None:
    assert acdc_train("-m", "optimizer.lr=0,-1").code == 2


def test_no_experiment_can_be_asked_for(acdc_train: Callable) -> None:
    """conf/config.yaml has ``experiment: null``: the same on the command line does it, or is one line."""
    outcome = acdc_train("experiment=null", "plan=true")
    assert outcome.code in (0, 2), outcome.err
    assert "Traceback" not in outcome.err


OWN_OPTIMIZER = """
name: sgd
lr: 0.1
weight_decay: 0
decay_norms_and_biases: true
momentum: 0.9
nesterov: false
beta1: null
beta2: null
"""


@pytest.mark.parametrize(
    ("written", "instead", "parts"),
    [
        ("lr: 0.1", "lr: -0.1", ["optimizer.lr=-0.1", "above 0"]),
        ("lr: 0.1", "lr: high", ["optimizer.lr", "high", "number"]),
        ("name: sgd", "name: sdg", ["optimizer.name=sdg", "optimizer.name=sgd"]),
        ("momentum: 0.9", "momentun: 0.9", ["optimizer.momentun", "did you mean optimizer.momentum"]),
    ],
)
def test_a_users_own_yaml_is_checked_the_same(
    written: str, instead: str, parts: list[str], acdc_train: Callable, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    own = tmp_path / "mine" / "optimizer" / "own.yaml"
    typed = ["--config-dir", str(tmp_path / "mine"), "optimizer=own", "plan=true"]
    own.write_text(OWN_OPTIMIZER)
    assert acdc_train(*typed).code == 0
    own.write_text(OWN_OPTIMIZER.replace(written, instead))
    outcome = acdc_train(*typed)
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert [part for part in parts if part not in outcome.err] == [], outcome.err


def test_a_config_folder_that_is_not_there_is_one_line(acdc_train: Callable, tmp_path: Path) -> None:
    outcome = acdc_train("--config-dir", str(tmp_path / "nowhere"), "plan=true")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert "nowhere" in outcome.err


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("sparsty=0.9", ["sparsty=0.9", "sparsity=0.9"]),
        ("schedule.phases=[[dense,0,4],[sparse,5,10]]", ["gap", "epoch 4"]),
    ],
)
def test_the_console_script_says_the_same(typed: str, parts: list[str], command: Callable, tmp_path: Path) -> None:
    done = command("acdc-train", typed)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert all(part in done.stderr for part in parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_missing_data_is_exit_code_3_before_the_device(device: str, acdc_train: Callable, tmp_path: Path) -> None:
    outcome = acdc_train("dataset=cifar10", f"device={device}", "data_dir=here", "loader=torch")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.count("\n") == 1
    assert "here/cifar10" in outcome.err
    assert "acdc-data prepare cifar10" in outcome.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("epochs=1", "epochs=1"),
        ("sparsity=1.5", "sparsity.target=1.5"),
        ("sparsty=0.9", "sparsty=0.9"),
        ("model.depth=9", "model.depth=9"),
        ("epochs=0 sparsty=0.9", "sparsty=0.9"),  # keys before ranges
    ],
)
def test_what_is_typed_is_checked_before_the_data(typed: str, named: str, acdc_train: Callable) -> None:
    outcome = acdc_train("dataset=cifar10", *typed.split(" "))
    assert outcome.code == 2, outcome.err
    assert named in outcome.err


@pytest.mark.parametrize("typed", ["model=resnet50", "model=mobilenet_v1 sparsity=0.75", "dataset=imagenet"])
def test_imagenet_that_is_not_there_names_the_command_that_makes_it(
    typed: str, acdc_train: Callable, tmp_path: Path
) -> None:
    assert acdc_train("plan=true", *typed.split()).code == 0
    outcome = acdc_train(*typed.split())
    assert (outcome.code, outcome.out) == (3, ""), outcome.err
    last = outcome.err.splitlines()[-1]  # without a GPU, a line on fp16 comes before it
    assert "acdc-data prepare imagenet --source DIR --out" in last and "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []
