"""Where a run goes on: at its newest checkpoint that can be used, or at its beginning."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from acdc_cli.config.schema import SettledConfig
from acdc_cli.errors import AcdcError, BadInput
from acdc_cli.planning.settle import Say
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.tasks import Data
from acdc_cli.training.build import build_run
from acdc_cli.training.checkpoint import restore
from acdc_cli.training.group import Group
from acdc_cli.training.run import Run


def restored_run(config: SettledConfig, data: Data, group: Group, run_id: str, folder: RunFolder, say: Say) -> Run:
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


def _build(config: SettledConfig, data: Data, group: Group, say: Say) -> Run:
    try:
        return build_run(config, data, group, say)
    except ValueError as error:  # the model cannot take this sparsity
        raise BadInput(f"sparsity.target={config.sparsity.target} model={config.model.name}: {error}") from None
