"""From a complete config to a finished run folder: find, resume, train, finish, and leave no doubt how it ended."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from acdc_cli.config.compose import dense_run_of
from acdc_cli.config.identity import readable_name, run_id
from acdc_cli.config.schema import Config, known, prunes_a_dense_run
from acdc_cli.data.dataset import read_dataset
from acdc_cli.data.source import is_own
from acdc_cli.errors import AcdcError, BadInput, DataMissing
from acdc_cli.ranks import Ranks, ranks_of
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.report.page import write_page
from acdc_cli.sparsity.coverage import uncovered_line
from acdc_cli.sparsity.rules import excluded
from acdc_cli.tasks import Data
from acdc_cli.training.checkpoint import restore
from acdc_cli.training.finish import finish
from acdc_cli.training.group import Group, joined_group
from acdc_cli.training.loop import run_epoch
from acdc_cli.training.machine import check_ranks, described, device_of, settle
from acdc_cli.training.method_needs import check_memory, check_samples
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.plan import plan
from acdc_cli.training.progress import Progress, SweepPlace
from acdc_cli.training.records import Records, disk_error
from acdc_cli.training.run import Run, build_run
from acdc_cli.training.start import locate_start

Say = Callable[[str], None]


def execute(config: Config, say: Say, sweep: SweepPlace | None = None) -> RunFolder:
    """Do the run that a complete config describes, or go on with it, or find it done.

    Args:
        say: takes lines for the user (warnings, what is being resumed).
        sweep: which run of a sweep this is, if it is one.

    Returns:
        The folder of the finished run.

    Raises:
        AcdcError: with the exit code for how it ended.
    """
    ranks = ranks_of(os.environ)
    try:
        return _execute(config, say if ranks.is_first else _say_nothing, ranks, sweep)
    except OSError as error:  # a folder that is a file, no permission, a full disk
        raise AcdcError(disk_error(error)) from None


def _say_nothing(line: str) -> None:
    """The first rank has said it."""


def _execute(config: Config, say: Say, ranks: Ranks, sweep: SweepPlace | None) -> RunFolder:
    config = _with_dense_run(config, say, ranks, sweep)
    config = locate_start(config)
    plan(config)  # what the model cannot take is said before data is looked for
    check_ranks(config, ranks)
    folder, settled, machine_error = _find(config, say, ranks)
    if folder is not None and not config.run.overwrite and _is_whole(folder, say):
        if ranks.is_first and not folder.report.exists():
            say(f"{folder.report}: missing; drawn again from the records")
            write_page(folder)
        _name_other_data(folder, config, say)
        _say_reached(folder, config, say)
        return folder
    if machine_error is not None:
        config.task.options.prepared(replace(config, loader="torch"), say)  # that data is missing is said before that
        raise machine_error
    assert folder is not None and settled is not None
    with joined_group(ranks, device_of(settled, ranks)) as group, ExitStack() as stack:
        data = group.first_on_each_node(lambda: settled.task.options.prepared(settled, say))
        if ranks.count > 1 and data.count("val") < ranks.count:
            raise BadInput(f"{ranks.count} ranks: dataset={data.name} has {data.count('val')} validation samples")
        settled.task.options.check_batches(settled, data, ranks.count)
        check_samples(settled, data.count("train"))
        check_memory(settled, ranks)
        group.together(lambda: stack.enter_context(folder.locked()) if group.is_first else None)
        for line in described(config, settled):
            say(line)
        say(f"{'' if sweep is None else f'run {sweep.number} of {sweep.count}: '}{folder.path.name}")
        _train_in(folder, settled, data, group, say, sweep)
    if ranks.is_first:
        _say_reached(folder, settled, say)
    return folder


def _with_dense_run(config: Config, say: Say, ranks: Ranks, sweep: SweepPlace | None) -> Config:
    """What prunes a trained network starts from a dense one: without start_from, of the same config or of dense_run."""
    if not prunes_a_dense_run(config) or config.start_from is not None:
        return config
    plan(config)  # what the pruning cannot have is said before the dense run
    with suppress(DataMissing):
        check_samples(config, read_dataset(Path(config.data_dir) / config.dataset.name).count("train"))
    dense, config = dense_run_of(config), copy.deepcopy(config)
    found, _, _ = _find(dense, _say_nothing, ranks)
    if found is None or not found.is_done:  # else the pruning may be done as well, and need no memory
        check_memory(config, ranks)
    say(f"method={config.method.name}: first the dense run that it prunes")
    config.start_from = str(execute(dense, say, sweep).path)
    return config


def _find(config: Config, say: Say, ranks: Ranks) -> tuple[RunFolder | None, Config | None, BadInput | None]:
    """The run's folder and settled config, or why this machine cannot have it: data comes before that is said."""
    try:
        settled = settle(config, say, ranks)
    except BadInput as error:
        return None, None, error
    name = f"{readable_name(settled)}-{run_id(settled)}"
    return RunFolder(Path(settled.runs_dir) / known(settled.run.experiment) / name), settled, None


def _name_other_data(folder: RunFolder, config: Config, say: Say) -> None:
    """Data are no part of a run's id; a finished run is shown, and what has changed since is said."""
    if is_own(config.dataset.name):
        return  # other data are another run
    with suppress(DataMissing):
        there = read_dataset(Path(config.data_dir) / config.dataset.name)
        if there.info["content_hash"] != folder.read_result().get("dataset_hash"):
            say(f"{there.folder}: not the data that this finished run had; run.overwrite=true trains on these")


def _say_reached(folder: RunFolder, config: Config, say: Say) -> None:
    """For a method that cannot be told its sparsity: what was asked, what came out, and how to come nearer."""
    if (key := config.method.facts.decided_by) is None:
        return
    asked, reached = config.sparsity.target, folder.read_result()["sparsity_of_pruned_layers"]
    say(
        f"sparsity {asked} was asked for, {reached:.4f} is reached: method={config.method.name} gets there only by way "
        f"of method.{key}; what finds its value for a target: acdc-search --help"
    )


def _train_in(folder: RunFolder, config: Config, data: Data, group: Group, say: Say, sweep: SweepPlace | None) -> None:
    records = Records(folder, config, group.is_first, say)
    try:
        records.begin(config)
        run = _restored(config, data, group, records.run_id, folder, say)
        _name_excluded(run, say)
        group.together(lambda: records.resume(run))
        progress = Progress(
            folder.path.name,
            run.timeline,
            run.steps_per_epoch,
            run.steps_done,
            config.batch_size,
            group.is_first,
            sweep,
            run.task.headline,
        )
        save, minutes = lambda: records.save(run), config.checkpoint.every_minutes
        with Pauses(save, minutes, group, progress.say_at_once) as pauses, progress:
            while run.epoch < known(config.epochs):
                run.rows.append(run_epoch(run, progress, pauses))
                records.epoch(run)
                progress.epoch(run.rows[-1])
                pauses.after_epoch()
        records.finish(run, finish(run, folder, records.run_id))
    except BaseException as error:
        raise records.ended(error) from None


def _is_whole(folder: RunFolder, say: Say) -> bool:
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


def _restored(config: Config, data: Data, group: Group, run_id: str, folder: RunFolder, say: Say) -> Run:
    """The run at its newest checkpoint that can be used; at its beginning where there is none yet.

    Every rank reads the checkpoint; the first one decides whether it can be used.

    Raises:
        AcdcError: if there are checkpoints and none of them can be used.
    """
    bad = list[str]()
    for path in group.from_first(folder.checkpoints()):
        run = _build(config, data, group, say)  # a new one each time: a bad checkpoint may have been half loaded
        own = group.together(partial(_problem, path, run_id, run))
        if (problem := group.from_first(own)) is not None:
            bad.append(str(problem))
            continue
        group.together(partial(_fail, own))  # where another rank cannot read what the first one has
        if path != folder.checkpoint:
            say(f"{bad[0] if bad else f'{folder.checkpoint}: missing'}; going on from {path.name}, the one before it")
            if group.is_first:
                folder.drop_damaged_checkpoint()
        say(f"resuming {folder.path} after {_position(run)}")
        return run
    if bad:  # every rank knows; one says it
        group.together(partial(_fail, AcdcError(f"{'; '.join(bad)}; run.overwrite=true starts over")))
    return _build(config, data, group, say)


def _problem(path: Path, run_id: str, run: Run) -> Damaged | None:
    try:
        restore(path, run_id, run.load_state_dict)
    except Damaged as error:
        return error
    return None


def _fail(error: AcdcError | None) -> None:
    if error is not None:
        raise error


def _position(run: Run) -> str:
    within = f", step {run.part.step}/{run.steps_per_epoch} of the next" if run.part is not None else ""
    return f"epoch {run.epoch}/{run.config.epochs}{within}"


def _build(config: Config, data: Data, group: Group, say: Say) -> Run:
    try:
        return build_run(config, data, group, say)
    except ValueError as error:  # the model cannot take this sparsity
        raise BadInput(f"sparsity.target={config.sparsity.target} model={config.model.name}: {error}") from None


def _name_excluded(run: Run, say: Say) -> None:
    if run.method.shares and (line := uncovered_line(run.model)) is not None:
        say(line)
    if names := excluded(run.method.shares, "indivisible"):
        say(
            f"the N:M group or block does not divide the channels of these layers, which stay dense: {', '.join(names)}"
        )
