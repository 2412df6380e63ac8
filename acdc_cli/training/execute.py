"""From a complete config to a finished run folder: find, resume, train, finish, and leave no doubt how it ended."""

from __future__ import annotations

import copy
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from acdc_cli.config.compose import dense_run_of
from acdc_cli.config.schema import Config, known, prunes_a_dense_run
from acdc_cli.data.dataset import read_dataset
from acdc_cli.errors import AcdcError, BadInput, DataMissing
from acdc_cli.planning.find import Say, find, is_whole, say_nothing, say_reached, show_again
from acdc_cli.planning.method_needs import check_memory, check_samples
from acdc_cli.planning.plan import plan
from acdc_cli.planning.settle import check_ranks
from acdc_cli.planning.start_file import locate_start
from acdc_cli.ranks import Ranks, ranks_of
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.coverage import uncovered_line
from acdc_cli.sparsity.rules import excluded
from acdc_cli.tasks import Data
from acdc_cli.training.checkpoint import restore
from acdc_cli.training.finish import finish
from acdc_cli.training.group import Group, joined_group
from acdc_cli.training.loop import run_epoch
from acdc_cli.training.machine import described, device_of
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.progress import Progress, SweepPlace
from acdc_cli.training.records import Records, disk_error
from acdc_cli.training.run import Run, build_run


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
        return _execute(config, say if ranks.is_first else say_nothing, ranks, sweep)
    except OSError as error:  # a folder that is a file, no permission, a full disk
        raise AcdcError(disk_error(error)) from None


def _execute(config: Config, say: Say, ranks: Ranks, sweep: SweepPlace | None) -> RunFolder:
    config = _with_dense_run(config, say, ranks, sweep)
    config = locate_start(config)
    plan(config)  # what the model cannot take is said before data is looked for
    check_ranks(config, ranks)
    folder, settled, machine_error = find(config, say, ranks)
    if folder is not None and not config.run.overwrite and is_whole(folder, say):
        show_again(folder, config, say, ranks)
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
        say_reached(folder, settled, say)
    return folder


def _with_dense_run(config: Config, say: Say, ranks: Ranks, sweep: SweepPlace | None) -> Config:
    """What prunes a trained network starts from a dense one: without start_from, of the same config or of dense_run."""
    if not prunes_a_dense_run(config) or config.start_from is not None:
        return config
    plan(config)  # what the pruning cannot have is said before the dense run
    with suppress(DataMissing):
        check_samples(config, read_dataset(Path(config.data_dir) / config.dataset.name).count("train"))
    dense, config = dense_run_of(config), copy.deepcopy(config)
    found, _, _ = find(dense, say_nothing, ranks)
    if found is None or not found.is_done:  # else the pruning may be done as well, and need no memory
        check_memory(config, ranks)
    say(f"method={config.method.name}: first the dense run that it prunes")
    config.start_from = str(execute(dense, say, sweep).path)
    return config


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
