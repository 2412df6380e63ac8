"""finetune=dense: go on from a run's dense model to the end of its schedule, without masks (AC/DC, appendix B.2).

The run's own config is what counts: the fine-tuning replaces its last sparse phase and nothing else, under the same
learning rates. So it is read from the run, and only what changes no number of the schedule can be typed beside it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from acdc_cli.config.command_line import key_of
from acdc_cli.config.schedule import PHASE_NUMBERS, timeline_of
from acdc_cli.config.schema import Config, MethodConfig, with_values
from acdc_cli.config.stored import read_config, require_same_run
from acdc_cli.errors import BadInput
from acdc_cli.parts import DENSE, METHODS
from acdc_cli.records.folder import RunFolder

MAY_BE_TYPED = (
    "data_dir",
    "loader",
    "device",
    "workers",
    "os_cache",
    "threads",
    "tracker",
    "checkpoint",
    "precision",
    "seed",
)
OF_THIS_RUN = ("start_from", "finetune", "finetune_start", "keep_best", "run", "runs_dir", "plan")


def finetuning_config(typed: Config, overrides: list[str]) -> Config:
    """The config of the fine-tuning that was asked for.

    Args:
        typed: what was composed; of it only what was typed, and what every run has for itself, is taken over.
        overrides: what was typed, as ``key=value``.

    Raises:
        BadInput: if there is no such run, if it is not done, has no dense partner or not the best one that is asked
            for, or on a key that would change its schedule.
    """
    if typed.start_from is None:
        raise BadInput("finetune=dense: needs the run to start from; add start_from=RUN")
    parent = RunFolder.open(Path(typed.start_from).expanduser())
    result = parent.read_result()
    config = read_config(parent)
    if not config.method.facts.follows_schedule or result["sparse"] is None or result["dense"] is None:
        raise BadInput(
            f"start_from={parent.path}: method={result['method']} leaves no dense partner to fine-tune; "
            "choose a run of method=acdc"
        )
    if typed.finetune_start == "best" and not parent.model("dense_best").is_file():
        raise BadInput(
            f"finetune_start=best: {parent.path} has no {parent.model('dense_best').name}; make that run with "
            "keep_best=true, or drop finetune_start to start from the end of its last dense phase"
        )
    require_same_run(parent, config, result["run_id"])
    first_epoch = timeline_of(config).last_sparse_phase().start_epoch
    config = replace(config, **{name: getattr(typed, name) for name in OF_THIS_RUN})
    for override in overrides:
        config = _taken_over(config, typed, override)
    no_phases: dict[str, Any] = dict.fromkeys(("phases", *PHASE_NUMBERS))
    return replace(
        config,
        first_epoch=first_epoch,
        start_from_hash=None,  # of what the run itself began with
        method=MethodConfig(name=DENSE, options=METHODS.part(DENSE).options()),
        dense_run=None,
        schedule=replace(config.schedule, **no_phases),
    )


def _taken_over(config: Config, typed: Config, override: str) -> Config:
    key = key_of(override)
    group, _, leaf = key.partition(".")
    if group in OF_THIS_RUN:
        return config
    if group not in MAY_BE_TYPED or group not in {field.name for field in fields(config)}:
        raise BadInput(
            f"{override}: finetune=dense keeps the run's own {group}; only {', '.join(MAY_BE_TYPED)} can be given"
        )
    value = getattr(typed, group)
    return with_values(config, {key: getattr(value, leaf) if leaf else value})
