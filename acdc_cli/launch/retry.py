"""acdc-report SWEEP --retry: go on with the runs of a folder that failed or were interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.retyped import as_overrides
from acdc_cli.config.stored import read_config
from acdc_cli.errors import EXIT_DONE, AcdcError, BadInput
from acdc_cli.launch.listed_runs import run_listed, say
from acdc_cli.launch.outcomes import sweep_exit_code
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.tables.found import ID, state_of

AGAIN = ("failed", "interrupted")


def retry(path: Path, launcher: Sequence[str]) -> int:
    """Run them again from their own config.yaml, in their own folders: each from its last checkpoint.

    Args:
        path: of a sweep.
        launcher: overrides such as ``hydra/launcher=joblib``.

    Returns:
        The exit code, as of a sweep.

    Raises:
        BadInput: if there is no run. One that could not even begin, for want of data, has left no folder.
    """
    folders = run_folders(path) if path.is_dir() else []
    if not folders:
        raise BadInput(
            f"--retry {path}: there is no run folder; a run that could not begin leaves none: repeat its command"
        )
    todo = [folder for folder in folders if state_of(folder) in AGAIN]
    if not todo:
        say(f"none of {len(folders)} runs has failed or was interrupted")
        return EXIT_DONE
    names, overrides, lost = list[str](), list[list[str]](), list[int]()
    for folder in todo:
        try:
            overrides.append(_overrides(folder))
            names.append(folder.path.name)
        except AcdcError as error:  # nothing says any more what the run was
            say(f"{folder.path.name}: {error}")
            lost.append(error.exit_code)
    ended = run_listed(names, overrides, launcher)
    if ended.error is not None:
        raise ended.error
    return sweep_exit_code([*lost, *(outcome["exit_code"] for outcome in ended.outcomes)], ended.interrupted)


def _overrides(folder: RunFolder) -> list[str]:
    """Its own, and the folder where it lies now, which may have been moved or copied from another machine."""
    config = read_config(folder)
    path = Path(folder.path).absolute()
    run = replace(config.run, experiment=path.parent.name, name=ID.sub("", path.name))
    return as_overrides(replace(config, runs_dir=str(path.parent.parent), run=run))
