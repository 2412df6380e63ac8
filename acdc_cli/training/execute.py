"""From a complete config to a finished run folder: find, resume, train, finish, and leave no doubt how it ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from acdc_cli.compose import to_yaml
from acdc_cli.config import Config, known
from acdc_cli.data.prepare import Dataset, open_dataset, require_beton
from acdc_cli.errors import AcdcError, BadInput, Interrupted
from acdc_cli.records.folder import RunFolder, replace_json, replace_text
from acdc_cli.records.identity import readable_name, run_id
from acdc_cli.records.tracker import WandbMirror
from acdc_cli.report.page import write_page
from acdc_cli.sparsity.rules import excluded
from acdc_cli.training.checkpoint import load_checkpoint, save_checkpoint
from acdc_cli.training.finish import finish, save_masks
from acdc_cli.training.loop import run_epoch
from acdc_cli.training.machine import settle
from acdc_cli.training.plan import plan
from acdc_cli.training.progress import Progress
from acdc_cli.training.run import Run, build_run
from acdc_cli.training.start import locate_start

Say = Callable[[str], None]


def execute(config: Config, say: Say) -> RunFolder:
    """Do the run that a complete config describes, or go on with it, or find it done.

    Args:
        say: takes lines for the user (warnings, what is being resumed).

    Returns:
        The folder of the finished run.

    Raises:
        AcdcError: with the exit code for how it ended.
    """
    try:
        return _execute(config, say)
    except OSError as error:  # a folder that is a file, no permission, a full disk
        raise AcdcError(_disk_error(error)) from None


def _execute(config: Config, say: Say) -> RunFolder:
    config = locate_start(config)
    plan(config)  # what the model cannot take is said before data is looked for
    folder, settled, machine_error = _find(config, say)
    if folder is not None and folder.is_done and not config.run.overwrite:
        return folder
    dataset = open_dataset(config.dataset.name, config.data_dir)
    if machine_error is not None:
        raise machine_error
    assert folder is not None and settled is not None
    if settled.loader == "ffcv":
        dataset = require_beton(dataset)
    with folder.locked():
        _train_in(folder, settled, dataset, say)
    return folder


def _find(config: Config, say: Say) -> tuple[RunFolder | None, Config | None, BadInput | None]:
    """The run's folder and settled config, or why this machine cannot have it: data comes before that is said."""
    try:
        settled = settle(config, say)
    except BadInput as error:
        return None, None, error
    name = f"{readable_name(settled)}-{run_id(settled)}"
    return RunFolder(Path(settled.runs_dir) / known(settled.run.experiment) / name), settled, None


def _train_in(folder: RunFolder, config: Config, dataset: Dataset, say: Say) -> None:
    identifier = run_id(config)
    if config.run.overwrite:
        folder.clear()
    epochs = known(config.epochs)
    tracker = WandbMirror(config, folder, identifier, say)
    epoch = folder.read_status().get("epoch", 0)
    try:
        folder.write_status("running", epoch)
        replace_text(folder.config, to_yaml(config))
        run = _build(config, dataset)
        if folder.checkpoint.is_file():
            run.load_state_dict(load_checkpoint(folder.checkpoint, identifier)["run"])
            say(f"resuming {folder.path} after epoch {run.epoch}/{epochs}")
        _name_excluded(run, say)
        epoch = run.epoch
        folder.write_metrics(run.rows)
        tracker.start(run.rows)
        with Progress(epochs, run.epoch, run.steps_per_epoch) as progress:
            while run.epoch < epochs:
                run.rows.append(run_epoch(run, progress))
                _record(run, folder, identifier, tracker, progress)
                epoch = run.epoch
        result = finish(run, folder, identifier)
        replace_json(folder.result, result)
        write_page(folder)
        tracker.finish(result)
        folder.write_status("done", epoch)
    except BaseException as error:
        ended = _ended(folder, epoch, error)  # before W&B, which may take its time
        tracker.close(failed=True)
        raise ended from None


def _build(config: Config, dataset: Dataset) -> Run:
    try:
        return build_run(config, dataset)
    except ValueError as error:  # the model cannot take this sparsity
        raise BadInput(f"sparsity.target={config.sparsity.target} model={config.model.name}: {error}") from None


def _name_excluded(run: Run, say: Say) -> None:
    if names := excluded(run.method.shares, "indivisible"):
        say(
            f"the N:M group or block does not divide the channels of these layers, which stay dense: {', '.join(names)}"
        )


def _record(run: Run, folder: RunFolder, identifier: str, tracker: WandbMirror, progress: Progress) -> None:
    """Put a finished epoch on record. The checkpoint is the truth; what is written around it follows from it."""
    row = run.rows[-1]
    if row["phase"] == "sparse" and run.timeline.begins(row["epoch"]) and run.method.masks is not None:
        save_masks(folder.masks / f"epoch_{row['epoch']:03d}.safetensors", run.method.masks)
    save_checkpoint(folder.checkpoint, {"run_id": identifier, "run": run.state_dict()})
    folder.append_metrics(row)
    folder.write_status("running", run.epoch)
    tracker.log(row)
    progress.epoch(row)


def _ended(folder: RunFolder, epoch: int, error: BaseException) -> BaseException:
    """Write down how a run ended, and turn what a user can cause into one line."""
    state, reason = "failed", error
    if isinstance(error, (KeyboardInterrupt, SystemExit, BrokenPipeError)):  # the latter two: nobody reads us any more
        state = "interrupted"
        reason = Interrupted(f"interrupted after epoch {epoch}; the same command goes on: {folder.path}")
    with suppress(OSError):  # a full disk may be why we are here
        folder.write_status(state, epoch, _disk_error(reason) if isinstance(reason, OSError) else str(reason))
    return reason


def _disk_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
