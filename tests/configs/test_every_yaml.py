"""Every YAML file under conf/ makes a config that could run, and means what it says."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from helpers.own_data import small_arrays, write_class_folders, write_idx, write_npz

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import PART_REGISTRIES, ComposedConfig, Config, plain
from acdc_cli.planning.plan import plan

CONF = Path(__file__).resolve().parents[2] / "conf"
OPTIONS = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml"))
MODELS = [option for group, option in OPTIONS if group == "model"]
# What a plan depends on, and the models whose plans differ in kind from each other's and take every data set.
PLANNED = {"dataset", "schedule", "sparsity", "method"}
OWN_MODELS = ("resnet8", "mobilenet_v1", "resnet50")
# A model's recipe names options of these, so that they compose with every model; the others do with a model of a kind.
IN_RECIPES = {"dataset", "schedule", "precision"}
# method=static needs weights to read its masks off: tests/runs/test_start_from.py.
# experiment=small_tables keeps all data on the device, too small for ImageNet: test_tables_compose.py has its rows.
NOT_ANY_MODEL = [("method", "static"), ("experiment", "small_tables")]
ANY_MODEL = [pair for pair in OPTIONS if pair[0] != "model" and pair not in NOT_ANY_MODEL]
OTHER_RECIPES = ("resnet8", "resnet20", "resnet50", "wide_resnet_28_10")  # others have one of these
COMPOSED = [
    (*pair, model)
    for pair in ANY_MODEL
    for model in MODELS
    if (pair[0] in PLANNED and model in OWN_MODELS)
    or (pair[0] in IN_RECIPES and model in OTHER_RECIPES)
    or model in ("resnet8", "resnet50")
]
# `make test` composes every third option with the first of its models; `make test-all` all options with all of theirs.
THIRD = {pair: next(model for *other, model in COMPOSED if tuple(other) == pair) for pair in ANY_MODEL[::3]}
COMPOSED_CASES = [
    pytest.param(*case, marks=() if THIRD.get(case[:2]) == case[2] else pytest.mark.exhaustive) for case in COMPOSED
]
EXPERIMENTS = [
    pytest.param(option, marks=() if index % 3 == 0 else pytest.mark.exhaustive)
    for index, (group, option) in enumerate(OPTIONS)
    if group == "experiment"
]
# contract.md, "Commands": the groups that an override can choose an option of.
GROUPS = {
    "model",
    "dataset",
    "schedule",
    "sparsity",
    "method",
    "optimizer",
    "lr_schedule",
    "precision",
    "tracker",
    "experiment",
}
FOUR_NUMBERS = ("warmup_epochs", "sparse_epochs", "dense_epochs", "final_sparse_epochs")


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: leaf for name in node for key, leaf in leaves(node[name], f"{prefix}.{name}".lstrip(".")).items()}


def written(group: str, option: str) -> dict[str, Any]:
    """The keys that an option's file sets, and their values."""
    text = (CONF / group / f"{option}.yaml").read_text()
    content = {name: value for name, value in yaml.safe_load(text).items() if name not in ("defaults", "hydra")}
    return leaves(content, "" if "@package _global_" in text else group)


def defaults_of(group: str, option: str) -> list[Any]:
    """The options that this one builds on."""
    return yaml.safe_load((CONF / group / f"{option}.yaml").read_text()).get("defaults", [])


def written_in_all(group: str, option: str) -> dict[str, Any]:
    """Those of the options that it builds on, too."""
    bases = [base for base in defaults_of(group, option) if isinstance(base, str)]
    keys = [written_in_all(group, base) for base in bases]
    return {key: value for each in keys for key, value in each.items()} | written(group, option)


def value_of(config: Config, key: str) -> Any:
    value: Any = plain(config) | {"task": plain(config.task)}
    for name in key.split("."):
        value = dict(value)[name]  # sparsity.rules is pairs
    return value


def schema_types(schema: Any = ComposedConfig, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> type, from the schema's dataclasses."""
    types: dict[str, Any] = {}
    for entry in fields(schema):
        hint, key = get_type_hints(schema)[entry.name], prefix + entry.name
        types |= schema_types(hint, f"{key}.") if is_dataclass(hint) else {key: hint}
    return types


def part_types() -> dict[str, Any]:
    """Dotted key -> type, of the parts; where several parts have a key, of all of them."""
    types: dict[str, Any] = {}
    for group, registry in PART_REGISTRIES.items():
        for name in registry.names():
            hints = get_type_hints(registry.part(name).options)
            for entry in fields(registry.part(name).options):
                key, hint = f"{group}.{entry.name}", hints[entry.name]
                types[key] = types.get(key, hint) | hint
    return types


def fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value is of the schema's type as it stands (a whole number is a fine float)."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    containers = [get_origin(kind) or kind for kind in kinds]
    return Any in kinds or type(value) in containers or (type(value) is int and float in containers)


def assert_can_be_planned(config: Config) -> None:
    """The model is built and takes the sparsity, and the timeline covers exactly the run."""
    planned = plan(config)
    assert planned["timeline"][-1][2] == config.epochs
    assert planned["prunable_weights"] > 0


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """Option -> what is typed for data of one's own, which a plan has to look at."""
    folder = tmp_path_factory.mktemp("own")
    sources = {
        "arrays": write_npz(folder / "arrays.npz", small_arrays()),
        "idx": write_idx(folder / "idx", small_arrays()),
        "folder": write_class_folders(folder / "folder"),
    }
    return {("dataset", name): [f"dataset.source={source}"] for name, source in sources.items()}


def test_every_group_of_the_contract_has_options() -> None:
    assert {group for group, _ in OPTIONS} >= GROUPS


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_an_option_sets_keys_of_the_schema_to_values_of_their_types(group: str, option: str) -> None:
    types = part_types() | schema_types() | {f"schedule.published.{name}": int for name in FOUR_NUMBERS}
    keys = written(group, option)
    assert keys or defaults_of(group, option)  # one that is another under a name of its own sets nothing
    wrong = [
        (key, value) for key, value in keys.items() if not key.startswith("sparsity.rules.")
    ]  # any name may be one
    assert [f"{key}={value!r}" for key, value in wrong if not fits(value, types[key])] == []


@pytest.mark.parametrize(("group", "option", "model"), COMPOSED_CASES)
def test_an_option_composes_with_models_and_means_what_it_says(
    group: str, option: str, model: str, own_data: dict[tuple[str, str], list[str]]
) -> None:
    typed = own_data.get((group, option), [])
    config = compose_config([f"model={model}", f"{group}={option}", *typed])
    # The four numbers are filled in and boundaries become phases (tested in test_schedules.py and
    # test_command_line.py); a model sets some keys itself, and an experiment has the last word.
    derived = {f"schedule.{name}" for name in (*FOUR_NUMBERS, "boundaries")}
    derived |= {"dataset.source"} if typed else set()
    derived |= written_in_all("model", model).keys() if group != "experiment" else set()
    said = {key: value for key, value in written(group, option).items() if key not in derived}
    said = {key: value for key, value in said.items() if not key.startswith("schedule.published")}
    assert {key: value_of(config, key) for key in said} == said
    if group in PLANNED and model in OWN_MODELS:
        assert_can_be_planned(config)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_composes_and_means_what_it_says(model: str) -> None:
    config = compose_config([f"model={model}"])
    assert {key: value_of(config, key) for key in written("model", model)} == written("model", model)
    assert_can_be_planned(config)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_runs_by_itself(experiment: str) -> None:
    """With the model that it names."""
    config = compose_config([f"experiment={experiment}"])
    assert config.run.experiment == experiment
    assert_can_be_planned(config)


def test_experiments_are_named_after_their_file_and_change_what_they_say() -> None:
    config = compose_config(["experiment=digits_95"])
    assert config.run.experiment == "digits_95"
    assert config.sparsity.target == 0.95
    assert compose_config([]).run.experiment == "default"


def test_resnet20_names_its_recipe() -> None:
    """notes.md, section 4.3; its schedule is tested in test_schedules.py."""
    config = compose_config(["model=resnet20"])
    assert config.dataset.name == "cifar10"
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.1, 0.9, False)
    assert optimizer.weight_decay == 5e-4
    assert config.batch_size == 128
    assert config.epochs == 200
    assert (config.lr_schedule.shape, config.lr_schedule.milestones) == ("step", [66, 126, 186])
    assert (config.lr_schedule.gamma, config.lr_schedule.warmup_epochs) == (0.1, 0)
    assert config.sparsity.distribution == "global"


@pytest.mark.parametrize("model", ["resnet50", "mobilenet_v1"])
def test_imagenet_models_name_their_recipe(model: str) -> None:
    """notes.md, section 4.1: the same for both; weight decay on every parameter, no label smoothing."""
    config = compose_config([f"model={model}"])
    optimizer, rate = config.optimizer, config.lr_schedule
    assert (optimizer.name, optimizer.lr, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.256, 0.875, False)
    assert (optimizer.weight_decay, optimizer.decay_norms_and_biases) == (2**-15, True)
    assert (rate.shape, rate.unit, rate.warmup_epochs) == ("cosine", "epoch", 5)
    assert (config.batch_size, config.precision.dtype, config.label_smoothing) == (256, "fp16", 0)
    assert (config.sparsity.distribution, config.sparsity.min_layer_density) == ("global", 0)
    assert config.sparsity.rules is None
    assert config.method.name == "acdc"


TYPED = {
    "dataset=digits": ("dataset.name", "digits"),
    "schedule=epochs_40": ("epochs", 40),
    "epochs=30": ("epochs", 30),
    "schedule.sparse_epochs=3": ("schedule.sparse_epochs", 3),
    "optimizer=adamw": ("optimizer.name", "adamw"),
    "optimizer.lr=0.5": ("optimizer.lr", 0.5),
    "lr_schedule=linear": ("lr_schedule.shape", "linear"),
    "lr_schedule.milestones=[1,2]": ("lr_schedule.milestones", [1, 2]),
    "precision=fp32": ("precision.dtype", "fp32"),
    "batch_size=7": ("batch_size", 7),
    "model.shortcut=conv": ("model.shortcut", "conv"),
    "sparsity=0.5": ("sparsity.target", 0.5),
    "dataset.flip=false": ("dataset.flip", False),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("typed", TYPED)
def test_what_is_typed_wins_over_the_models_recipe_in_either_order(typed: str) -> None:
    key, value = TYPED[typed]
    assert value_of(compose_config(["model=resnet20"]), key) != value
    for arguments in (["model=resnet20", typed], [typed, "model=resnet20"]):
        config = compose_config(arguments)
        assert value_of(config, key) == value
        assert config.model.name == "resnet20"


def test_what_is_typed_wins_over_the_experiment() -> None:
    assert compose_config(["experiment=digits_95", "sparsity=0.5"]).sparsity.target == 0.5
    assert compose_config(["sparsity=0.5", "experiment=digits_95"]).sparsity.target == 0.5
