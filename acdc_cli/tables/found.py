"""Find existing runs for a table, also those that another command or another machine has made."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from acdc_cli.config.identity import identity, readable_name, run_id
from acdc_cli.config.schema import Config, plain
from acdc_cli.config.stored import read_config
from acdc_cli.errors import AcdcError
from acdc_cli.planning.precision import AUTOMATIC_DTYPES
from acdc_cli.records.folder import RunFolder
from acdc_cli.system.nested import leaves

ID = re.compile(r"-([0-9a-f]{8})$")
# Two machines may resolve these keys differently if the config leaves them open, and then the same run has two ids.
# A table needs the run only once, so a key is ignored in the comparison if it has the value given here.
LEFT_OPEN = {
    "device": "auto",
    "loader": "auto",
    "threads": None,
    "precision.compile": None,
    "keep_best": None,  # a run that keeps its best models too has the same numbers
}


class FoundRuns:
    """The runs under one folder.

    Args:
        runs_dir: the folder that contains ``<experiment>/<name>-<id>``.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir

    def of(self, asked: Config, settled: Config) -> RunFolder | None:
        """Find the run of a config, finished ones first. Returns None if there is none.

        A run made on this machine is found by its id. Another machine may have resolved ``auto`` values differently, so
        its runs are compared by the config as it was asked for.

        Args:
            asked: the config as composed.
            settled: the config with all values resolved for this machine.
        """
        # Runs of another record format, or of other data of the user's own, do not count.
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
        # Finished runs come last, so that they win if two folders have the same id.
        return dict(sorted(self._folders, key=lambda pair: state_of(pair[1]) == "done"))

    def _like(self, settled: Config) -> list[RunFolder]:
        """Return the folders with the same name except for the id. Only their configs need to be read."""
        name = readable_name(settled)
        return [folder for _, folder in self._folders if ID.sub("", folder.path.name) == name]


def state_of(folder: RunFolder) -> str:
    """Return the state of a run folder; ``failed`` if its records are damaged."""
    try:
        return folder.state()
    except AcdcError:
        return "failed"


def _is_run_of(asked: Config, folder: RunFolder) -> bool:
    try:
        made = _read_config(folder.path, folder.config.stat().st_mtime_ns)
    except (AcdcError, OSError):
        return False
    if _is_chosen_by_device(asked.precision.dtype, made):
        made = replace(made, precision=replace(made.precision, dtype=asked.precision.dtype))
    return _recipe(made, asked) == _recipe(asked, asked)


def _is_chosen_by_device(asked_dtype: str, made: Config) -> bool:
    """Return whether the run's machine chose its precision: for ``auto``, or for fp16 on a CPU."""
    is_left_open = asked_dtype == "auto" or (asked_dtype == "fp16" and made.device == "cpu")
    return is_left_open and made.precision.dtype in AUTOMATIC_DTYPES.get(made.device, ())


@cache
def _read_config(path: Path, changed: int) -> Config:
    """Read a run's config. It is cached, because a table looks at all runs again after every round.

    Args:
        changed: modification time of the config file, so that a changed file is read again.
    """
    return read_config(RunFolder(path))


def _recipe(config: Config, asked: Config) -> str:
    """Return the content of a run's id as JSON, without the keys that ``asked`` leaves open."""
    content, values = identity(config), dict(leaves(plain(asked)))
    for key, is_open in LEFT_OPEN.items():
        if values.get(key) == is_open:
            _drop(content, key)
    if hasattr(asked.method.options, "settled"):  # the method leaves keys that are null to the machine
        for key in (key for key, value in plain(asked.method).items() if value is None):
            _drop(content, f"method.{key}")
    return json.dumps(content, sort_keys=True)


def _drop(content: dict[str, Any], key: str) -> None:
    group, _, leaf = key.rpartition(".")
    (content.get(group, {}) if group else content).pop(leaf, None)
