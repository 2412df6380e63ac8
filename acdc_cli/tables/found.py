"""Runs that are there already, whoever made them and on whichever machine: equal ones are shared."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from acdc_cli.config.identity import identity, readable_name, run_id
from acdc_cli.config.schema import Config
from acdc_cli.config.stored import read_config
from acdc_cli.errors import AcdcError
from acdc_cli.records.folder import RunFolder
from acdc_cli.training.precision import AUTOMATIC_DTYPES

ID = re.compile(r"-([0-9a-f]{8})$")
# What may differ where the config leaves it open: two machines give two ids to what a table wants once.
LEFT_OPEN = {
    "device": "auto",
    "loader": "auto",
    "threads": None,
    "precision.compile": None,
    "method.fisher_block": None,
    "keep_best": None,  # a run that keeps more files has the same numbers
}


class FoundRuns:
    """The runs under one folder.

    Args:
        runs_dir: where ``<experiment>/<name>-<id>`` lie.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir

    def of(self, asked: Config, settled: Config) -> RunFolder | None:
        """The run of a config: by its id on this machine, or else by what was asked for, which others settled too.

        Args:
            asked: as composed.
            settled: as it would run on this machine.
        """
        # A run of an older record format, or of other data of the user's own, is another run.
        asked = replace(asked, record_format=settled.record_format, dataset=settled.dataset)
        own = self._by_id.get(run_id(settled))
        if own is not None and state_of(own) == "done":
            return own
        others = [folder for folder in self._like(settled) if _is_run_of(asked, folder)]
        done = [folder for folder in others if state_of(folder) == "done"]
        return next(iter([*done, *([own] if own else []), *others]), None)

    @cached_property
    def _folders(self) -> list[tuple[str, RunFolder]]:
        paths = [(ID.search(path.name), path) for path in sorted(self._runs_dir.glob("*/*")) if path.is_dir()]
        return [(match[1], RunFolder(path)) for match, path in paths if match is not None]

    @cached_property
    def _by_id(self) -> dict[str, RunFolder]:
        return dict(sorted(self._folders, key=lambda pair: state_of(pair[1]) == "done"))  # of two, the one that is

    def _like(self, settled: Config) -> list[RunFolder]:
        """Those that are called like it but for the id: only their configs need to be read."""
        name = readable_name(settled)
        return [folder for _, folder in self._folders if ID.sub("", folder.path.name) == name]


def state_of(folder: RunFolder) -> str:
    """The folder's state; one that is damaged has failed."""
    try:
        return folder.state()
    except AcdcError:
        return "failed"


def _is_run_of(asked: Config, folder: RunFolder) -> bool:
    try:
        made = copy.deepcopy(_read_config(folder.path, folder.config.stat().st_mtime_ns))
    except (AcdcError, OSError):
        return False
    if _is_chosen_by_device(asked.precision.dtype, made):
        made.precision.dtype = asked.precision.dtype
    return _recipe(made, asked) == _recipe(asked, asked)


def _is_chosen_by_device(asked_dtype: str, made: Config) -> bool:
    """Whether the format in which a run was made is one that its machine chose: for auto, or a CPU for fp16."""
    is_left_open = asked_dtype == "auto" or (asked_dtype == "fp16" and made.device == "cpu")
    return is_left_open and made.precision.dtype in AUTOMATIC_DTYPES.get(made.device, ())


@cache
def _read_config(path: Path, changed: int) -> Config:
    """Once, though a table looks again after every round of runs."""
    return read_config(RunFolder(path))


def _recipe(config: Config, asked: Config) -> str:
    """What a run's id is made of, without what was left open when it was asked for."""
    content = identity(config)
    for key, is_open in LEFT_OPEN.items():
        if attrgetter(key)(asked) == is_open:
            _drop(content, key)
    return json.dumps(content, sort_keys=True)


def _drop(content: dict[str, Any], key: str) -> None:
    group, _, leaf = key.rpartition(".")
    (content.get(group, {}) if group else content).pop(leaf, None)
