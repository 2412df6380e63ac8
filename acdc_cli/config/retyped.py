"""A resolved config as the overrides that make it again: how a run is launched anew by its folder alone."""

from __future__ import annotations

from typing import Any

from acdc_cli.config.command_line import quoted
from acdc_cli.config.finetune import MAY_BE_TYPED, OF_THIS_RUN
from acdc_cli.config.schema import Config, plain
from acdc_cli.parts import MODELS
from acdc_cli.system.nested import leaves

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
    typed = [(key, value) for key, value in leaves(plain(config)) if key not in DERIVED]
    if config.finetune is not None:  # everything else is its parent's
        typed = [(key, value) for key, value in typed if key.partition(".")[0] in (*OF_THIS_RUN, *MAY_BE_TYPED)]
        return [f"{key}={_typed(value)}" for key, value in typed]
    is_of_library = MODELS.part(config.model.family).facts.is_library
    model = config.model.family if is_of_library else config.model.name
    typed = [(key, value) for key, value in typed if key != "model.name" or is_of_library]
    chosen = [f"model={model}", f"dataset={config.dataset.name}"]
    chosen += [] if plain(config)["task"] is None else [f"task={config.task.name}"]
    named = ("dataset.name", "task", "task.name")
    return [*chosen, *(f"{key}={_typed(value)}" for key, value in typed if key not in named)]


def _typed(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_typed, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quoted(value) if isinstance(value, str) else repr(value)
