"""A resolved config as the overrides that make it again: how a run is launched anew by its folder alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acdc_cli.config.command_line import quoted
from acdc_cli.config.finetune import MAY_BE_TYPED, OF_THIS_RUN
from acdc_cli.config.schema import Config, plain
from acdc_cli.parts import MODELS

DERIVED = (
    "start_from_hash",
    "dataset.content_hash",
    "first_epoch",
    "record_format",
    "schedule.published",
    "plan",
    "run.overwrite",
)


def as_overrides(config: Config) -> list[str]:
    """``acdc-train`` with these is the same run, whatever the defaults are by now.

    Args:
        config: as config.yaml has it.
    """
    leaves = [(key, value) for key, value in _leaves(plain(config)) if key not in DERIVED]
    if config.finetune is not None:  # everything else is its parent's
        leaves = [(key, value) for key, value in leaves if key.partition(".")[0] in (*OF_THIS_RUN, *MAY_BE_TYPED)]
        return [f"{key}={_typed(value)}" for key, value in leaves]
    is_of_library = MODELS.part(config.model.family).facts.is_library
    model = config.model.family if is_of_library else config.model.name
    leaves = [(key, value) for key, value in leaves if key != "model.name" or is_of_library]
    chosen = [f"model={model}", *([] if plain(config)["task"] is None else [f"task={config.task.name}"])]
    return [*chosen, *(f"{key}={_typed(value)}" for key, value in leaves if key not in ("task", "task.name"))]


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _typed(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_typed, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else repr(value)
