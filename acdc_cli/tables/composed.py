"""Compose the configs of tables' runs. Each is composed once, and those known in advance in parallel on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.errors import AcdcError
from acdc_cli.system.processors import cores
from acdc_cli.system.progress import stage
from acdc_cli.system.workers import Shares, WorkerDied, answers_of

_kept: dict[tuple[str, ...], Config] = {}


def composed(overrides: tuple[str, ...]) -> Config:
    """Return the config that ``acdc-train OVERRIDES`` would run with.

    The config is cached, so callers must not change it.

    Raises:
        BadInput: for an invalid override.
    """
    if overrides not in _kept:
        _kept[overrides] = compose_config(list(overrides))
    return _kept[overrides]


def compose_ahead(wanted: Iterable[tuple[str, ...]]) -> None:
    """Compose configs in parallel before ``composed`` is called for them.

    Hydra takes a tenth of a second for each config, and tables have hundreds. A config that fails is skipped here (so
    are those of a killed process); ``composed`` composes it later and raises the error.
    """
    todo = [overrides for overrides in dict.fromkeys(wanted) if overrides not in _kept]
    processes = min(cores(), len(todo))
    if processes < 2:
        return
    try:
        with stage("configs of the tables' runs", len(todo)) as advance:
            for number, config in answers_of(partial(_compose, todo, Shares(len(todo))), processes):
                advance(1)
                if config is not None:
                    _kept[todo[number]] = config
    except WorkerDied:
        return


def _compose(todo: Sequence[tuple[str, ...]], shares: Shares, send: Callable[[Any], None]) -> None:
    for (number,) in shares:
        try:
            send((number, compose_config(list(todo[number]))))
        except AcdcError:
            send((number, None))
