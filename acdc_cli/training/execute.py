"""From a complete config to a finished run folder: find, resume, train, finish, and leave no doubt how it ended."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.compose import dense_run_of
from acdc_cli.config.identity import run_folder
from acdc_cli.config.schema import Config, SettledConfig, prunes_a_dense_run
from acdc_cli.data.dataset import read_dataset
from acdc_cli.errors import AcdcError, BadInput, DataMissing
from acdc_cli.planning.find import is_whole, say_nothing, say_reached, show_again
from acdc_cli.planning.method_needs import check_memory, check_samples
from acdc_cli.planning.plan import plan
from acdc_cli.planning.settle import Say, check_ranks, settle
from acdc_cli.planning.start_file import locate_start
from acdc_cli.ranks import Ranks, ranks_of
from acdc_cli.records.folder import RunFolder
from acdc_cli.sparsity.coverage import uncovered_line
from acdc_cli.sparsity.rules import excluded
from acdc_cli.tasks import Data
from acdc_cli.training.finish import finish
from acdc_cli.training.group import Group, joined_group
from acdc_cli.training.loop import run_epoch
from acdc_cli.training.machine import described, device_of
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.progress import Progress, SweepPlace
from acdc_cli.training.records import Records, disk_error
from acdc_cli.training.restore import restored_run
from acdc_cli.training.run import Run


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
    started = locate_start(_with_dense_run(config, say, ranks, sweep))
    plan(started)  # what the model cannot take is said before data is looked for
    check_ranks(started, ranks)
    settled = _settled(started, say, ranks)
    folder = run_folder(settled)
    if not settled.run.overwrite and is_whole(folder, say):
        show_again(folder, started, say, ranks)
        return folder
    with joined_group(ranks, device_of(settled, ranks)) as group, ExitStack() as stack:
        data = _found_data(settled, group, say)
        group.together(lambda: stack.enter_context(folder.locked()) if group.is_first else None)
        for line in described(started, settled):
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
    dense = dense_run_of(config)
    if not _is_done(dense, ranks):  # else the pruning may be done as well, and need no memory
        check_memory(config, ranks)
    say(f"method={config.method.name}: first the dense run that it prunes")
    return replace(config, start_from=str(execute(dense, say, sweep).path))


def _is_done(config: Config, ranks: Ranks) -> bool:
    try:
        return run_folder(settle(config, say_nothing, ranks)).is_done
    except BadInput:  # which the run itself will say
        return False


def _settled(config: Config, say: Say, ranks: Ranks) -> SettledConfig:
    """Settle the config. That data are missing is said before what this machine lacks."""
    try:
        return settle(config, say, ranks)
    except BadInput:
        config.task.options.prepared(replace(config, loader="torch"), say)
        raise


def _found_data(config: SettledConfig, group: Group, say: Say) -> Data:
    """Find or prepare the data, and check that ranks, batches, samples and memory go with them."""
    task, ranks = config.task.options, group.ranks
    data: Data = group.first_on_each_node(lambda: task.prepared(config, say))
    if ranks.count > 1 and data.count("val") < ranks.count:
        raise BadInput(f"{ranks.count} ranks: dataset={data.name} has {data.count('val')} validation samples")
    task.check_batches(config, data, ranks.count)
    check_samples(config, data.count("train"))
    check_memory(config, ranks)
    return data


def _train_in(
    folder: RunFolder, config: SettledConfig, data: Data, group: Group, say: Say, sweep: SweepPlace | None
) -> None:
    records = Records(folder, config, group.is_first, say)
    try:
        records.begin(config)
        run = restored_run(config, data, group, records.run_id, folder, say)
        _name_excluded(run, say)
        group.together(lambda: records.resume(run))
        _train(run, records, folder.path.name, sweep)
        records.finish(run, finish(run, folder, records.run_id))
    except BaseException as error:
        raise records.ended(error) from None


def _train(run: Run, records: Records, name: str, sweep: SweepPlace | None) -> None:
    """Train the epochs that are left. Each is on record before the next one begins."""
    batch_size, group = run.config.batch_size, run.group
    progress = Progress(
        name,
        run.timeline,
        run.steps_per_epoch,
        run.steps_done,
        batch_size,
        group.is_first,
        sweep,
        run.task.headline,
    )
    minutes = run.config.checkpoint.every_minutes
    with Pauses(lambda: records.save(run), minutes, group, progress.say_at_once) as pauses, progress:
        while run.epoch < run.config.epochs:
            run.rows.append(run_epoch(run, progress, pauses))
            records.epoch(run)
            progress.epoch(run.rows[-1])
            pauses.after_epoch()


def _name_excluded(run: Run, say: Say) -> None:
    if run.method.shares and (line := uncovered_line(run.model)) is not None:
        say(line)
    if names := excluded(run.method.shares, "indivisible"):
        say(
            f"the N:M group or block does not divide the channels of these layers, which stay dense: {', '.join(names)}"
        )
