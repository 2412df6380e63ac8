"""The dense run that a method prunes: made first where there is no ``start_from``, and a part of the pruning's cost."""

from __future__ import annotations

import copy

from acdc_cli.config.compose import compose_config
from acdc_cli.config.schema import Config, known, prunes_a_dense_run
from acdc_cli.errors import BadInput
from acdc_cli.method_options import resolve_method

# Of a run with a recipe of its own for the dense one, all that is no recipe: what is learned, where, and on what.
TAKEN_OVER = (
    *("model", "dataset", "seed", "accumulation", "sync_batch_norm", "shuffle_window"),
    *("loader", "device", "workers", "os_cache", "threads", "data_dir", "runs_dir", "tracker", "checkpoint"),
)


def dense_run_of(config: Config) -> Config:
    """The dense run of the same config, or, with ``dense_run``, that of the same network, data and seed by its recipe.

    Raises:
        BadInput: on an override of ``dense_run`` that cannot be.
    """
    if config.dense_run is None:
        dense = copy.deepcopy(config)
        dense.method.name, dense.bn_recalibration = "dense", None
        dense.keep_best = None  # of the pruned model alone
        resolve_method(dense)
    else:
        try:
            dense = compose_config([*config.dense_run, "method=dense"])
        except BadInput as error:
            raise BadInput(f"dense_run={config.dense_run}: {error}") from None
        for name in TAKEN_OVER:
            setattr(dense, name, copy.deepcopy(getattr(config, name)))
    dense.run = copy.deepcopy(config.run)
    dense.run.name, dense.run.overwrite = None, False
    return dense


def dense_share(config: Config) -> float:
    """Epochs of the dense run that is pruned over the run's own; 0: the method trains from the beginning."""
    if not prunes_a_dense_run(config):
        return 0.0
    return 1.0 if config.dense_run is None else known(dense_run_of(config).epochs) / known(config.epochs)
