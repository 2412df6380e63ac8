"""Create or update the W&B runs of run folders from their records.

    python scripts/wandb_sync.py runs/table1                     online; needs a key, see wandb login
    python scripts/wandb_sync.py runs --mode offline             rewrites each run's wandb/ folder

The id of a run is also its W&B id, so no run is created twice. A run that W&B already has gets its missing epochs, its
summary and its artifacts; W&B stores artifacts with equal content once.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_id
from acdc_cli.config.schema import plain
from acdc_cli.config.text import from_yaml
from acdc_cli.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, AcdcError
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.records.tracker import WandbMirror


def sync(folder: RunFolder, mode: str, project: str | None) -> str | None:
    """Copy one run's records to W&B. Returns a description of the problem, or None if there was none."""
    config, problems = from_yaml(folder.config.read_text()), list[str]()
    project = project or config.tracker.project or compose_config(["tracker=wandb"]).tracker.project
    config = replace(config, tracker=replace(config.tracker, name="wandb", mode=mode, project=project))
    mirror = WandbMirror(plain(config), folder, run_id(config), problems.append)
    mirror.start(folder.read_metrics())
    mirror.finish(folder.read_result()) if folder.is_done else mirror.close()
    return problems[0] if problems else None


def main() -> int:
    """Update the W&B runs of the folders on the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, help="a run folder, or a folder of run folders")
    parser.add_argument("--mode", choices=("online", "offline"), default="online")
    parser.add_argument("--project", help="W&B project to use in place of the one in each run's config")
    options = parser.parse_args()
    folders = run_folders(options.runs)
    if not folders:
        print(f"wandb_sync: error: {options.runs}: there is no run folder in it", file=sys.stderr)
        return EXIT_BAD_INPUT
    failed = 0
    for number, folder in enumerate(folders, 1):
        try:
            problem = "not updated: running" if folder.is_running() else sync(folder, options.mode, options.project)
        except (AcdcError, OSError) as error:
            problem = str(error)
        failed += problem is not None
        print(f"{number}/{len(folders)} {folder.path.name}: {problem or 'in step with its records'}")
    return EXIT_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
