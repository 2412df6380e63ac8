"""Composing YAML files and overrides with Hydra, before anything in the result is checked."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from acdc_cli.config.command_line import conf_dir, for_hydra, user_dirs
from acdc_cli.config.schema import register_schema


def composed_by_hydra(overrides: Sequence[str], extra_dir: str | None = None) -> DictConfig:
    """Return what Hydra makes of the overrides, with its own node ``hydra`` in it.

    Args:
        overrides: in Hydra's grammar, without our short forms.
        extra_dir: a folder of more YAML files, as of ``--config-dir``.

    Raises:
        HydraException, OmegaConfBaseException, ValueError: see ``compose.explain``.
    """
    if folders := user_dirs(extra_dir):
        overrides = [*overrides, f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"]
    register_schema()
    hydra = GlobalHydra.instance()
    outer, hydra.hydra = hydra.hydra, None  # that of acdc-train, where a config names another one
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", overrides=for_hydra(list(overrides)), return_hydra_config=True)
    finally:
        hydra.hydra = outer
