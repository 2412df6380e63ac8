"""The configs of tables' runs: each composed once, and all that are known beforehand on all cores at a time."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.data import DataLoader

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config
from acdc_cli.errors import AcdcError
from acdc_cli.system.processors import cores
from acdc_cli.system.progress import stage
from acdc_cli.system.signals import ignore_stop_signals

_kept: dict[tuple[str, ...], Config] = {}


def composed(overrides: tuple[str, ...]) -> Config:
    """What ``acdc-train OVERRIDES`` would run with; not to be changed, for it is kept.

    Raises:
        BadInput: on an override that cannot be.
    """
    if overrides not in _kept:
        _kept[overrides] = compose_config(list(overrides))
    return _kept[overrides]


def compose_ahead(wanted: Iterable[tuple[str, ...]]) -> None:
    """Compose what ``composed`` will be asked for: Hydra takes a tenth of a second each, and tables have hundreds.

    What cannot be composed, or was not because a process was killed, is left to ``composed``, which says why.
    """
    todo = [overrides for overrides in dict.fromkeys(wanted) if overrides not in _kept]
    processes = min(cores(), len(todo))
    if processes < 2:
        return
    # A loader's processes end with this one, however it ends; those of a plain pool would wait for ever.
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
