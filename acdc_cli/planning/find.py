"""Finding the folder of a run, and showing one that is done. Torch is imported only where ``settle`` needs it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.compose import dense_run_of
from acdc_cli.config.identity import run_folder
from acdc_cli.config.schema import Config, prunes_a_dense_run
from acdc_cli.data.beton.availability import not_installed
from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.source import is_own
from acdc_cli.errors import AcdcError, DataMissing
from acdc_cli.planning.settle import Say, check_ranks, settle
from acdc_cli.planning.start_file import locate_start
from acdc_cli.ranks import Ranks, ranks_of
from acdc_cli.records.folder import RunFolder


def say_nothing(line: str) -> None:
    """The first rank has said it."""


def finished_run(config: Config, say: Say) -> RunFolder | None:
    """The run's folder if the run is done, with all that ``execute`` says of it; None: ``execute`` has to look at it.

    Whatever goes wrong here goes wrong there too, where it is said in its order.
    """
    lines = list[str]()
    with suppress(AcdcError, OSError):
        ranks = ranks_of(os.environ)
        folder = _finished_run(config, lines.append, ranks)
        if folder is not None and ranks.is_first:
            for line in lines:
                say(line)
        return folder
    return None


def _finished_run(config: Config, say: Say, ranks: Ranks) -> RunFolder | None:
    if config.run.overwrite:
        return None
    if prunes_a_dense_run(config) and config.start_from is None:
        say(f"method={config.method.name}: first the dense run that it prunes")
        if (dense := _finished_run(dense_run_of(config), say, ranks)) is None:
            return None
        config = replace(config, start_from=str(dense.path))
    config = locate_start(config)
    check_ranks(config, ranks)
    folder = run_folder(settle(config, say, ranks, not_installed))
    if not is_whole(folder, say):
        return None
    show_again(folder, config, say, ranks)
    return folder


def is_whole(folder: RunFolder, say: Say) -> bool:
    """Whether the run is done and all it leaves is as it was written. What is not is named.

    Raises:
        AcdcError: if there is damage and no checkpoint to repair it from.
    """
    if not folder.is_marked_done:
        return False
    faults = folder.faults()
    lost = [fault for fault in faults if not folder.can_be_made_again(fault.path)]
    for fault in lost:
        say(f"{fault.path}: {fault.why}; only run.overwrite=true, which trains the run again, makes it again")
    if len(lost) == len(faults):
        return True
    named = "; ".join(f"{fault.path}: {fault.why}" for fault in faults if fault not in lost)
    if not folder.checkpoints():
        raise AcdcError(f"{named}; there is no checkpoint to make that again from: run.overwrite=true trains it again")
    say(f"{named}; making it again from the last checkpoint")
    return False


def show_again(folder: RunFolder, config: Config, say: Say, ranks: Ranks) -> None:
    """Say what there is to say of a run that is done; draw its report again if that is missing."""
    if ranks.is_first and not folder.report.exists():
        from acdc_cli.report.page import write_page  # and matplotlib with it

        say(f"{folder.report}: missing; drawn again from the records")
        write_page(folder)
    _name_other_data(folder, config, say)
    say_reached(folder, config, say)


def _name_other_data(folder: RunFolder, config: Config, say: Say) -> None:
    """Data are no part of a run's id; a finished run is shown, and what has changed since is said."""
    if is_own(config.dataset.name):
        return  # other data are another run
    with suppress(DataMissing):
        there = read_dataset(Path(config.data_dir) / config.dataset.name)
        if there.info["content_hash"] != folder.read_result().get("dataset_hash"):
            say(f"{there.folder}: not the data that this finished run had; run.overwrite=true trains on these")


def say_reached(folder: RunFolder, config: Config, say: Say) -> None:
    """Say which sparsity was asked for and which is reached, if the method cannot be told its sparsity."""
    if (key := config.method.facts.decided_by) is None:
        return
    asked, reached = config.sparsity.target, folder.read_result()["sparsity_of_pruned_layers"]
    say(
        f"sparsity {asked} was asked for, {reached:.4f} is reached: method={config.method.name} gets there only by way "
        f"of method.{key}; what finds its value for a target: acdc-search --help"
    )
