"""From what was typed to a complete, checked config. Nothing is built before everything here has passed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from acdc_cli.config.command_line import check_overrides, conf_dir, rewrite
from acdc_cli.config.schedule import resolve_schedule
from acdc_cli.config.schema import Config, register_schema, schema_keys
from acdc_cli.config.value_ranges import check_ranges
from acdc_cli.data.options import check_dataset
from acdc_cli.errors import BadInput, nearest, not_a_choice
from acdc_cli.method_options import check_method, resolve_method, resolve_spread
from acdc_cli.models.libraries import require_timm
from acdc_cli.models.options import check_model
from acdc_cli.sparsity.allocate import Allocation
from acdc_cli.sparsity.rules import parse_rules
from acdc_cli.sparsity.target import AllocationError, Pattern, parse_target

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML was built with it


def compose_config(arguments: list[str], extra_dir: str | None = None) -> Config:
    """The config that ``acdc-train ARGUMENTS`` would run with, from any Python program.

    Raises:
        BadInput: on any key, value or combination that the command line would refuse.
    """
    arguments = rewrite(arguments)
    check_overrides(arguments, extra_dir=extra_dir)
    if extra_dir is not None:
        arguments = [*arguments, f"hydra.searchpath=[file://{Path(extra_dir).absolute()}]"]
    register_schema()
    hydra = GlobalHydra.instance()
    outer, hydra.hydra = hydra.hydra, None  # that of acdc-train, where a config names another one
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = compose("config", overrides=arguments, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error) from None
    finally:
        hydra.hydra = outer
    experiment = composed.hydra.runtime.choices.get("experiment")
    return complete(composed, experiment, arguments)


def complete(composed: DictConfig, experiment: str | None, overrides: list[str]) -> Config:
    """Check a composed config against the schema and derive what the YAML leaves open.

    Args:
        composed: Hydra's config.
        experiment: the chosen option of the group ``experiment``.
        overrides: what was typed; fine-tuning takes nothing else from the composed config.

    Returns:
        A config in which ``epochs``, the schedule and the sparsity target are final. Device, loader, threads and
        precision still say what was asked: they depend on the machine, see ``training.machine``.
    """
    plain = DictConfig({key: node for key, node in composed.items_ex(resolve=False) if key != "hydra"})
    _check_keys(plain)
    try:
        config = _typed(plain)
    except OmegaConfBaseException as error:
        raise explain(error) from None
    check_ranges(config)
    _resolve_start(config)
    resolve_method(config)
    resolve_schedule(config)
    _resolve_sparsity(config)
    check_method(config)
    check_dataset(config)
    _check_combinations(config)
    check_model(config.model, overrides)
    # What asks for the same run as null has the same id.
    config.keep_best = config.keep_best or None
    config.finetune_start = None if config.finetune_start == "last" else config.finetune_start
    config.run.experiment = config.run.experiment or experiment or "default"
    if config.dataset.source is not None:
        config.dataset.source = os.path.expanduser(config.dataset.source)
    config.runs_dir, config.data_dir = os.path.expanduser(config.runs_dir), os.path.expanduser(config.data_dir)
    if config.dense_run is not None:
        from acdc_cli.config.dense_run import dense_run_of  # which composes another config, and so imports this module

        dense_run_of(config)
    if config.finetune is not None:
        from acdc_cli.config.finetune import finetuning_config  # which reads configs, and so imports this module

        return finetuning_config(config, overrides)
    return config


def _typed(content: Any) -> Config:
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), content))
    assert isinstance(config, Config)
    return config


def _check_keys(composed: DictConfig) -> None:
    schema = schema_keys()
    for key in _leaf_keys(OmegaConf.to_container(composed, resolve=False)):
        if key not in schema and not key.startswith(("schedule.published.", "sparsity.rules.")):
            raise BadInput(f"{key}: there is no such key; did you mean {nearest(key, schema)}?")


def _leaf_keys(node: Any, prefix: str = "") -> list[str]:
    if isinstance(node, dict) and node:
        return [leaf for name, child in node.items() for leaf in _leaf_keys(child, f"{prefix}{name}.")]
    return [prefix.rstrip(".")]


def _resolve_start(config: Config) -> None:
    """``masks=from_weights`` is static masks, whatever the method was; both need weights to start from."""
    if config.start_from == "":
        raise BadInput("start_from=: is empty; start_from=RUN_OR_FILE, or leave it out")
    for key, source in {"start_from_hash": "start_from", "first_epoch": "start_from", "record_format": "model"}.items():
        if getattr(config, key) is not None:
            raise BadInput(f"{key}={getattr(config, key)}: is derived from {source}; drop {key}")
    if config.finetune_start == "best" and config.finetune is None:
        raise BadInput("finetune_start=best: says where finetune=dense starts; add finetune=dense, or drop it")
    if config.masks is None:
        return
    if config.start_from is None:
        raise BadInput("masks=from_weights: needs weights to read them off; add start_from=RUN_OR_FILE")
    if config.finetune is not None:
        raise BadInput("masks=from_weights: finetune=dense trains without masks; drop one of the two")
    config.method.name = "static"


def _resolve_sparsity(config: Config) -> None:
    """Write targets the one way they enter the id, and refuse what no model could take."""
    sparsity = config.sparsity
    try:
        target = parse_target(sparsity.target)
    except AllocationError as error:
        raise BadInput(f"sparsity.target={error}") from None
    sparsity.target = target
    try:
        rules = parse_rules(_as_mapping(sparsity.rules))
    except AllocationError as error:
        raise BadInput(f"sparsity.rules: {error}") from None
    if isinstance(target, Pattern):
        sparsity.target = str(target)
        if all(isinstance(own, Pattern) or own == 0 for own in rules.values()):
            # N:M is what it is whatever distribution is chosen: one run, one id.
            sparsity.distribution, sparsity.min_layer_density, sparsity.block = "global", 0.0, None
    # Pairs, not a mapping: of two rules for a layer the later one wins, so their order is part of the id.
    sparsity.rules = [[rule, str(own) if isinstance(own, Pattern) else own] for rule, own in rules.items()] or None
    resolve_spread(config)
    allocation_of(config)


def _as_mapping(rules: Any) -> dict[str, Any]:
    """Rules as typed, {first: 0}, or as a config.yaml has them, [[first, 0]]."""
    try:
        return dict(rules or {})
    except (TypeError, ValueError):
        raise BadInput(f"sparsity.rules={rules}: not {{rule: target, ...}}, such as {{first:0,last:0}}") from None


def allocation_of(config: Config) -> Allocation:
    """How a complete config spreads its sparsity. Raises BadInput on settings that do not go together."""
    sparsity = config.sparsity
    try:
        return Allocation(
            sparsity.target,
            sparsity.distribution,
            sparsity.min_layer_density,
            None if sparsity.block is None else tuple(sparsity.block),
            sparsity.indivisible,
            _as_mapping(sparsity.rules),
        )
    except AllocationError as error:
        key = str(error).partition(" ")[0]
        raise BadInput(f"sparsity.{key}={getattr(sparsity, key)}: {error}") from None


def _check_combinations(config: Config) -> None:
    optimizer, lr_schedule = config.optimizer, config.lr_schedule
    if optimizer.name == "sgd" and optimizer.momentum is None:
        raise BadInput("optimizer.momentum=null: optimizer.name=sgd needs a number; 0 for none")
    if optimizer.name == "sgd" and optimizer.nesterov and not optimizer.momentum:
        raise BadInput(f"optimizer.nesterov=true: needs momentum, not optimizer.momentum={optimizer.momentum}; use 0.9")
    if optimizer.name != "sgd" and None in (optimizer.beta1, optimizer.beta2):
        raise BadInput(f"optimizer.name={optimizer.name}: needs optimizer.beta1 and beta2; choose optimizer=adamw")
    if optimizer.name == "lamb":
        require_timm("optimizer.name=lamb")
    if lr_schedule.shape == "step" and not (lr_schedule.milestones and lr_schedule.gamma):
        raise BadInput(
            "lr_schedule.shape=step: needs lr_schedule.milestones and lr_schedule.gamma, such as [20,30] and 0.1"
        )
    milestones = lr_schedule.milestones or []
    if milestones != sorted(milestones) or any(epoch <= 0 for epoch in milestones):
        nearest_valid = sorted(epoch for epoch in milestones if epoch > 0)
        raise BadInput(f"lr_schedule.milestones={milestones}: not rising epochs above 0; nearest: {nearest_valid}")
    for key, name in (("run.name", config.run.name), ("run.experiment", config.run.experiment)):
        if name is not None and not re.fullmatch(r"[\w.+=,-]*\w[\w.+=,-]*", name):
            raise BadInput(
                f"{key}={name}: names a folder: letters, digits and . _ - only; nearest: {key}={_as_name(name)}"
            )
    if config.tracker.name == "wandb" and config.tracker.mode is None:
        raise BadInput("tracker.mode=null: tracker.name=wandb needs auto, online or offline")


def _as_name(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "-", text).strip("-.") or "run"


_LAUNCHER = "hydra/launcher/"
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
_TYPE_WORDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def explain(error: BaseException) -> BadInput:
    """One line for an error of Hydra or OmegaConf that the checks before them did not foresee."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MissingMandatoryValue):
            return BadInput(f"{cause.full_key}: has no value; set {cause.full_key}=VALUE")
        if isinstance(cause, MissingConfigException) and (file := cause.missing_cfg_file or "").startswith(_LAUNCHER):
            return _no_launcher(file.removeprefix(_LAUNCHER), cause.options or [])
        if isinstance(cause, ConfigKeyError) and cause.full_key:
            meant = nearest(cause.full_key, schema_keys())
            return BadInput(f"{cause.full_key}: there is no such key; did you mean {meant}?")
        if isinstance(cause, OmegaConfBaseException) and cause.full_key:
            reason = str(cause.msg or cause).splitlines()[0]
            wrong_type = re.match(r"Value '(.*?)'(?: of type '.*?')? .*?(Integer|Float|bool)", reason)
            if wrong_type:
                return BadInput(f"{cause.full_key}={wrong_type[1]}: must be {_TYPE_WORDS[wrong_type[2]]}")
            if "list or tuple" in reason:
                example = "[0.1,0.5,0.7]" if cause.full_key == "schedule.boundaries" else "[20,30]"
                return BadInput(f"{cause.full_key}={cause.value}: must be a list, such as {example}")
            return BadInput(f"{cause.full_key}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return BadInput(re.sub(r"\s+", " ", str(error)).strip())


def _no_launcher(name: str, others: Sequence[str]) -> BadInput:
    if name in LAUNCHER_PACKAGES:
        return BadInput(f"hydra/launcher={name}: is not installed; run: pip install {LAUNCHER_PACKAGES[name]}")
    return not_a_choice("hydra/launcher", name, sorted({*others, *LAUNCHER_PACKAGES}))


def to_yaml(config: Config) -> str:
    """The whole config as YAML, readable by any YAML parser."""
    return yaml.safe_dump(asdict(config), sort_keys=False, default_flow_style=None, width=120)


def from_yaml(text: str) -> Config:
    """Inverse of ``to_yaml``; a key that the schema has gained since reads as null.

    Raises:
        BadInput: if the text is not a config.
    """
    try:
        content = yaml.load(text, Loader=SAFE_LOADER)
        for key in schema_keys():
            *groups, leaf = key.split(".")
            functools.reduce(lambda node, group: node.setdefault(group, {}), groups, content).setdefault(leaf, None)
        return _typed(OmegaConf.create(content))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise explain(error) from None
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise BadInput("not a config, which is groups of keys and their values") from None
