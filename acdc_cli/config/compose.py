"""From what was typed to a complete, checked config. Nothing is built before everything here has passed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.config.checks import check_model_name, checked
from acdc_cli.config.command_line import check_overrides, rewrite
from acdc_cli.config.explain import explain
from acdc_cli.config.finetune import finetuning_config
from acdc_cli.config.hydra_compose import composed_by_hydra
from acdc_cli.config.identity import DEFAULT_EXPERIMENT
from acdc_cli.config.schema import (
    PART_GROUPS,
    Config,
    MethodConfig,
    all_keys,
    prunes_a_dense_run,
    schema_keys,
)
from acdc_cli.config.typed import typed_config
from acdc_cli.errors import BadInput, nearest
from acdc_cli.parts import DENSE, METHODS
from acdc_cli.plugins import load_plugins
from acdc_cli.system.nested import leaves

FREE_KEYS = ("schedule.published.", "sparsity.rules.")  # what follows is the user's own
# What a dense run with a recipe of its own takes from the run that prunes it: what is learned, where, and on what.
TAKEN_OVER = (
    *("model", "dataset", "seed", "accumulation", "sync_batch_norm", "shuffle_window"),
    *("loader", "device", "workers", "os_cache", "threads", "data_dir", "runs_dir", "tracker", "checkpoint"),
)


def compose_config(arguments: list[str], extra_dir: str | None = None) -> Config:
    """The config that ``acdc-train ARGUMENTS`` would run with, from any Python program.

    Raises:
        BadInput: on any key, value or combination that the command line would refuse.
    """
    arguments = rewrite(arguments)
    check_overrides(arguments, extra_dir=extra_dir)
    try:
        composed = composed_by_hydra(arguments, extra_dir)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error) from None
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
        precision still say what was asked: they depend on the machine, see ``planning.settle``.
    """
    plain = DictConfig({key: node for key, node in composed.items_ex(resolve=False) if key != "hydra"})
    content = OmegaConf.to_container(plain)
    assert isinstance(content, dict)
    _check_keys({str(key): value for key, value in content.items()})
    load_plugins(content.get("plugins") or [])
    try:
        asked = typed_config(content)
    except OmegaConfBaseException as error:
        raise explain(error) from None
    config = checked(asked)
    check_model_name(config, overrides)
    run = replace(config.run, experiment=config.run.experiment or experiment or DEFAULT_EXPERIMENT)
    config = replace(config, run=run)
    if config.dense_run is not None:
        dense_run_of(config)
    return config if config.finetune is None else finetuning_config(config, overrides)


def _check_keys(content: dict[str, Any]) -> None:
    schema = schema_keys()
    for key, _ in leaves(content, with_empty=True):
        if key not in schema and not key.startswith(FREE_KEYS) and key.partition(".")[0] not in PART_GROUPS:
            raise BadInput(f"{key}: there is no such key; did you mean {nearest(key, all_keys())}?")


def dense_run_of(config: Config) -> Config:
    """The dense run of the same config, or, with ``dense_run``, that of the same network, data and seed by its recipe.

    Raises:
        BadInput: on an override of ``dense_run`` that cannot be.
    """
    if config.dense_run is None:
        # keep_best is asked of the pruned model alone.
        dense = replace(config, method=dense_method(), bn_recalibration=None, keep_best=None)
    else:
        try:
            dense = compose_config([*config.dense_run, f"method={DENSE}"])
        except BadInput as error:
            raise BadInput(f"dense_run={config.dense_run}: {error}") from None
        dense = replace(dense, **{name: getattr(config, name) for name in TAKEN_OVER})
    return replace(dense, run=replace(config.run, name=None, overwrite=False))


def dense_method() -> MethodConfig:
    """Return the method without masks."""
    return MethodConfig(name=DENSE, options=METHODS.part(DENSE).options())


def dense_share(config: Config) -> float:
    """Epochs of the dense run that is pruned over the run's own; 0: the method trains from the beginning."""
    if not prunes_a_dense_run(config):
        return 0.0
    return 1.0 if config.dense_run is None else dense_run_of(config).epochs / config.epochs
