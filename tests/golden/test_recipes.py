"""Every recipe of the papers: what its one line resolves to, beside what was written by hand from its sources.

``recipes/*.yaml``: ``source`` says where its values are from, and which are ours; ``config`` holds all that decides a
run's numbers but its data; ``dataset`` how images are cropped and resized; ``phases`` D10 (S5 D5)x6 ... in epochs;
``rates`` the learning rate that an epoch begins with.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.support import Command

from acdc_cli.config.compose import compose_config
from acdc_cli.training.optim import learning_rate

HERE = Path(__file__).resolve().parent
CONF = HERE.parents[1] / "conf"
RECIPES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((HERE / "recipes").glob("*.yaml"))}
# Their configs and learning rates are compared in `make test`; most of the plans, which build the model, in test-all.
IN_SHORT = ("acdcpp", "cifar100_acdc_14", "mobilenet_v1", "resnet20", "resnet50", "resnet50_2_4", "resnet50_woodfisher")
PLANNED = [pytest.param(name, marks=() if name in IN_SHORT else pytest.mark.exhaustive) for name in RECIPES]
# Not a paper's: the embedded set, and whole libraries under ImageNet's recipe.
OURS = {
    "mlp",
    "lenet5",
    "resnet8",
    "resnet8x34",
    "digits_95",
    "patches_90",
    "patches_methods",
    "phase_lengths",
    "small_tables",
    "torchvision",
    "timm",
}
# Where things lie, who watches, and what depends on the machine.
NOT_A_RECIPES = {
    "tracker",
    "run",
    "checkpoint",
    "loader",
    "device",
    "workers",
    "threads",
    "data_dir",
    "runs_dir",
    "dataset",
}
STEPS_PER_EPOCH = 10

pytestmark = pytest.mark.slow


def without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: without_nulls(child) for key, child in node.items() if child is not None}
    return node


def spans(phases: str) -> list[list[Any]]:
    """``D10 (S5 D5)x2`` -> [["dense", 0, 10], ["sparse", 10, 15], ...]."""
    listed = re.sub(r"\((.*?)\)x(\d+)", lambda found: " ".join([found[1]] * int(found[2])), phases)
    timeline, start = [], 0
    for word in listed.split():
        end = start + int(word[1:])
        timeline.append([{"D": "dense", "S": "sparse"}[word[0]], start, end])
        start = end
    return timeline


def test_every_recipe_has_its_golden_file() -> None:
    named = {path.stem for group in ("model", "experiment") for path in (CONF / group).glob("*.yaml")}
    assert named - OURS <= RECIPES.keys()
    assert all(recipe["source"] for recipe in RECIPES.values())


@pytest.mark.parametrize("name", RECIPES)
def test_the_resolved_config_is_the_recipe(name: str, program: Command) -> None:
    recipe = RECIPES[name]
    done = program("--cfg", "job", "--resolve", *recipe["typed"].split())
    assert (done.returncode, done.stderr) == (0, "")
    printed = without_nulls(yaml.safe_load(done.stdout))
    assert {key: value for key, value in printed.items() if key not in NOT_A_RECIPES} == recipe["config"]
    assert printed["dataset"] == recipe["dataset"]


@pytest.mark.parametrize("name", PLANNED)
def test_the_plan_has_the_recipes_phases_and_layers(name: str, program: Command) -> None:
    recipe = RECIPES[name]
    done = program("plan=true", *recipe["typed"].split())
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["timeline"] == spans(recipe["phases"])
    assert plan["prunable_weights"] == recipe["prunable_weights"]
    assert plan["stay_dense"] == recipe["stay_dense"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_learning_rate_is_the_recipes(name: str) -> None:
    recipe = RECIPES[name]
    config = compose_config(recipe["typed"].split())
    rates = {epoch: learning_rate(config, epoch * STEPS_PER_EPOCH, STEPS_PER_EPOCH) for epoch in recipe["rates"]}
    assert rates == pytest.approx(recipe["rates"], rel=1e-5)


@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet50_uniform", "acdcpp"])
def test_the_target_and_the_epochs_can_be_typed_beside_an_experiment(name: str) -> None:
    typed = [*RECIPES[name]["typed"].split(), "sparsity=0.98", "epochs=150"]
    config = compose_config(typed)
    assert (config.sparsity.target, config.epochs) == (0.98, 150)
    rules = RECIPES[name]["config"]["sparsity"].get("rules")
    assert config.sparsity.rules == rules


def test_a_recipe_can_be_applied_to_another_model() -> None:
    """AC/DC++ is written for ResNet50; the model that is typed wins, the recipe stays."""
    config = compose_config(["experiment=acdcpp", "model=mobilenet_v1"])
    assert config.model.name == "mobilenet_v1"
    assert (config.label_smoothing, config.batch_size, config.optimizer.lr) == (0.1, 1024, 1.7)
