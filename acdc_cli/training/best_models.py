"""keep_best=true: the models of a run's best epochs, through kills, on the first rank.

After an epoch its model is written to ``checkpoints/best/`` if ``measure.best.possible_best_epochs`` names it, before
the checkpoint that has its row. So whatever the checkpoint's rows can still name is on disk; an epoch that is repeated
after a kill writes its file again. Models that are out of the race are removed one checkpoint later, and at the end
the best ones become ``models/sparse_best.safetensors`` and ``models/dense_best.safetensors``.

A model is kept as it was evaluated: ``bn_recalibration`` applies to the end of the run alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from acdc_cli.errors import AcdcError
from acdc_cli.measure.best import best_epoch, possible_best_epochs
from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import Headline
from acdc_cli.records.tensors import read_tensors
from acdc_cli.sparsity.method import model_state
from acdc_cli.training.finish import KINDS, input_metadata, save_tensors
from acdc_cli.training.run import Run

Rows = list[EpochRow]


def keep_candidate(folder: RunFolder, run: Run) -> None:
    """Write the model of the epoch that has just been evaluated, if the run may still name it the best of its kind."""
    row = run.rows[-1]
    kind, epoch = row["phase"], row["epoch"]
    if kind in _kinds(run) and epoch in possible_best_epochs(run.rows, kind, run.task.headline):
        metadata = input_metadata(run) | {"epoch": str(epoch)}
        save_tensors(folder, folder.best_candidate(epoch), model_state(run.model), metadata)


def remove_beaten(folder: RunFolder, rows: Rows, headline: Headline) -> None:
    """Remove the models that neither the newest checkpoint nor the one before it can name the best any more."""
    needed = {
        epoch for seen in (rows, rows[:-1]) for kind in KINDS for epoch in possible_best_epochs(seen, kind, headline)
    }
    wanted = {folder.best_candidate(epoch) for epoch in needed}
    for file in folder.best_epochs.glob("*.safetensors"):
        if file not in wanted:
            folder.remove(file)


def require_candidates(folder: RunFolder, run: Run) -> None:
    """Check that a run that goes on still has every model that may turn out to be the best.

    Raises:
        AcdcError: naming the file of an epoch that is lost: only training that epoch again makes its model.
    """
    if run.rows and run.part is None and not _is_there(folder, run.rows[-1]):
        keep_candidate(folder, run)  # the checkpoint has this one
    for kind in _kinds(run):
        best = best_epoch(run.rows, kind, run.task.headline)
        is_last = run.epoch == run.config.epochs
        possible = [best["epoch"]] if best and is_last else possible_best_epochs(run.rows, kind, run.task.headline)
        for row in run.rows:
            if row["epoch"] in possible and not _is_there(folder, row):
                raise _lost(folder, row)


def leave_best(folder: RunFolder, run: Run) -> None:
    """Put the best models of a run that has ended into ``models/``, and remove the others.

    Raises:
        AcdcError: if one of them has been removed meanwhile.
    """
    for kind in _kinds(run):
        if (best := best_epoch(run.rows, kind, run.task.headline)) is None:
            continue
        if not _is_there(folder, best):
            raise _lost(folder, best)
        if (candidate := folder.best_candidate(best["epoch"])).is_file():
            folder.replace(folder.model(f"{kind}_best"), partial(shutil.copyfile, candidate))
    for file in folder.best_epochs.glob("*.safetensors"):
        folder.remove(file)
    shutil.rmtree(folder.best_epochs, ignore_errors=True)


def _kinds(run: Run) -> tuple[str, ...]:
    """The phase kinds whose models the method leaves: a network that is being pruned is no dense model."""
    return KINDS if run.config.method.facts.makes_dense_model else ("sparse",)


def _is_there(folder: RunFolder, row: Mapping[str, Any]) -> bool:
    """Whether an epoch's model is on disk, undamaged: as a candidate, or in ``models/`` where the run had ended."""
    candidate, left = folder.best_candidate(row["epoch"]), folder.model(f"{row['phase']}_best")
    with suppress(Damaged, ValueError):
        if candidate.is_file():
            folder.sums.check(candidate)
            return True
        if left.is_file():
            folder.sums.check(left)
            return read_tensors(left)[1].get("epoch") == str(row["epoch"])
    return False


def _lost(folder: RunFolder, row: Mapping[str, Any]) -> AcdcError:
    return AcdcError(
        f"{folder.best_candidate(row['epoch'])}: missing or damaged; keep_best=true may need this model of epoch "
        f"{row['epoch'] + 1}; "
        "run.overwrite=true trains the run again"
    )
