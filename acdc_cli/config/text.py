"""A config as the text of config.yaml, and back."""

from __future__ import annotations

import functools
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from acdc_cli.config.explain import explain
from acdc_cli.config.schema import PART_REGISTRIES, Config, narrowed, plain, schema_keys
from acdc_cli.config.typed import NAMED_BY, typed_config
from acdc_cli.errors import BadInput

SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML was built with it


def to_yaml(config: Config) -> str:
    """The whole config as YAML, readable by any YAML parser."""
    return yaml.safe_dump(plain(config), sort_keys=False, default_flow_style=None, width=120)


def from_yaml(text: str) -> Config:
    """Inverse of ``to_yaml``; a key that the schema has gained since reads as null.

    A config does not import the plug-ins that it names.

    Raises:
        PluginMissing: if one of its parts is a plug-in's that has not been imported.
        BadInput: if the text is not a config, or not a complete one.
    """
    try:
        content = yaml.load(text, Loader=SAFE_LOADER)
        content.setdefault("task", None)
        for key in (key for key in schema_keys() if not key.startswith("task.")):
            *groups, leaf = key.split(".")
            functools.reduce(lambda node, group: node.setdefault(group, {}), groups, content).setdefault(leaf, None)
        _check_plugins(content)
        config = typed_config(OmegaConf.to_container(OmegaConf.create(content)))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise explain(error) from None
    except (TypeError, AttributeError, ValueError, RecursionError):
        raise BadInput("not a config, which is groups of keys and their values") from None
    if config.epochs is None:
        raise BadInput("the config is not complete")
    return narrowed(Config, config)


class PluginMissing(BadInput):
    """A part of the config is a plug-in's that has not been imported."""


def _check_plugins(content: dict[str, Any]) -> None:
    plugins = content.get("plugins") or []
    for group, key in NAMED_BY.items():
        name = (content.get(group) or {}).get(key)
        if plugins and name is not None and name not in PART_REGISTRIES[group].names():
            raise PluginMissing(
                f"{group}={name} is a plug-in's, and what a run folder names is not imported by itself; add "
                + " ".join(f"--plugin {plugin}" for plugin in plugins)
            )
