"""From composed YAML to a typed config, in which every part has its own options."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from acdc_cli.config.schema import (
    OPEN_SCHEMA,
    PART_GROUPS,
    PART_REGISTRIES,
    ComposedConfig,
    DatasetConfig,
    MethodConfig,
    ModelConfig,
    TaskConfig,
    all_keys,
    part_keys,
)
from acdc_cli.errors import BadInput, nearest
from acdc_cli.registry import Part

# The base key of a group that names the part. A model's `name` is what the run is called.
NAMED_BY = {"model": "family", "dataset": "name", "method": "name", "task": "name"}
_GROUP_TYPES: dict[str, Any] = {
    "model": ModelConfig,
    "dataset": DatasetConfig,
    "method": MethodConfig,
    "task": TaskConfig,
}
# In these groups a key that the chosen part does not read is dropped, so that a sweep over parts can set it for some.
DROPS_UNREAD = ("method",)


def chosen_part(group: str, content: Mapping[str, Any]) -> Part:
    """Return the part that a group's composed keys choose. Raises BadInput, with the nearest name, for an unknown one.

    A model without ``family`` is of the family that its ``name`` has.
    """
    key = NAMED_BY[group]
    name = content.get(key)
    if name is None and group == "model":
        key, name = "name", content.get("name")
    if name is None:
        raise BadInput(f"{group}.{key}: has no value; set {group}.{key}=VALUE")
    return PART_REGISTRIES[group].part(str(name), f"{group}.{key}")


def typed_options(group: str, content: Mapping[str, Any]) -> tuple[Part, Any]:
    """Return the chosen part and its options, each key with its type.

    Args:
        group: of the config, such as ``method``.
        content: the group's composed keys, those of all its parts included.

    Raises:
        BadInput: for a key that no part has, one that the part needs and lacks, or, but for methods, one with a value
            that the part does not read.
        omegaconf.errors.OmegaConfBaseException: for a value of another type; it has the key.
    """
    part = chosen_part(group, content)
    base, own = PART_GROUPS[group], {entry.name: entry for entry in fields(part.options)}
    values = dict[str, Any]()
    for key, value in content.items():
        if key in own:
            values[key] = value
        elif key not in base:
            _check_unread(group, part, key, value)
    hints = get_type_hints(part.options)
    for key, entry in own.items():
        if values.get(key) is None and not _is_optional(hints[key]):
            raise _missing(group, part, entry)
    # The group stands around the options, so that an error of OmegaConf names the whole key.
    typed = OmegaConf.merge(OmegaConf.create({group: OmegaConf.structured(part.options)}), {group: values})
    return part, OmegaConf.to_object(typed)[group]  # type: ignore[index,call-overload]


def _check_unread(group: str, part: Part, key: str, value: Any) -> None:
    if f"{group}.{key}" not in part_keys(group):
        raise BadInput(f"{group}.{key}: there is no such key; did you mean {nearest(f'{group}.{key}', all_keys())}?")
    if value is not None and group not in DROPS_UNREAD:
        named = _typed_name(group, part)
        raise BadInput(f"{group}.{key}={value}: {named} does not read it; use {group}.{key}=null")


def _missing(group: str, part: Part, entry: Field[Any]) -> BadInput:
    key = f"{group}.{entry.name}"
    if (example := entry.metadata.get("example")) is not None:
        named = _typed_name(group, part)
        return BadInput(f"{key}=null: {named} needs it, such as {key}={example}")
    return BadInput(f"{key}=null: {group}={part.name} needs a value; conf/{group}/{part.name}.yaml has one")


def _typed_name(group: str, part: Part) -> str:
    """Return what a user types for the part."""
    return f"{group}.{NAMED_BY[group]}={part.name}" if NAMED_BY[group] != "name" else f"{group}={part.name}"


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def typed_config(content: Any) -> ComposedConfig:
    """Give every value of a composed config its type, and every part its own options."""
    open_config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(OPEN_SCHEMA), content))
    hints = get_type_hints(ComposedConfig)
    values = {entry.name: getattr(open_config, entry.name) for entry in fields(ComposedConfig)}
    for name in (name for name, value in values.items() if is_dataclass(value)):
        values[name] = hints[name](**vars(values[name]))
    if values["task"] is None:
        values["task"] = {"name": chosen_part("dataset", values["dataset"]).facts.task}
    for group, base in PART_GROUPS.items():
        part, options = typed_options(group, values[group])
        own = {key: values[group].get(key) for key in base}
        values[group] = _GROUP_TYPES[group](**own | {NAMED_BY[group]: part.name}, options=options)
    return ComposedConfig(**values)
