"""Compose the configs of tables' runs. Each is composed once, and those known in advance in parallel on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterable

from torch.utils.data import DataLoader

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.data.held_signals import ignore_stop_signals
from acdc_cli.data.preparation_progress import stage
from acdc_cli.errors import AcdcError

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
    processes = min(len(os.sched_getaffinity(0)), len(todo))
    if processes < 2:
        return
    # The worker processes of a DataLoader end with this process even if it is killed. Those of a pool would not.
    configs: DataLoader[Config | None] = DataLoader(
        todo,  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_composed_or_none,  # type: ignore[arg-type]
        num_workers=processes,
        worker_init_fn=ignore_stop_signals,
        multiprocessing_context="fork",
    )
    try:
        with stage("configs of the tables' runs", len(todo)) as advance:
            for overrides, config in zip(todo, configs, strict=True):
                advance(1)
                if config is not None:
                    _kept[overrides] = config
    except RuntimeError:
        return


def _composed_or_none(overrides: tuple[str, ...]) -> Config | None:
    try:
        return compose_config(list(overrides))
    except AcdcError:
        return None
