"""Rebuild or bring up to date the W&B runs of run folders, from their own records.

    python scripts/wandb_sync.py runs/table1                     online: with a key, see wandb login
    python scripts/wandb_sync.py runs --mode offline             rewrite each run's wandb/ folder

A run's W&B id is its own id, so nothing is there twice: a run that W&B has already gets the epochs that it lacks, its
summary and its artifacts (of which W&B keeps one of equal content).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from acdc_cli.config.compose import compose_config
from acdc_cli.config.identity import run_id
from acdc_cli.config.text import from_yaml
from acdc_cli.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, AcdcError
from acdc_cli.records.folder import RunFolder, run_folders
from acdc_cli.records.tracker import WandbMirror


def sync(folder: RunFolder, mode: str, project: str | None) -> str | None:
    """Mirror one run. Returns what went wrong, or None."""
    config, problems = from_yaml(folder.config.read_text()), list[str]()
    config.tracker.name, config.tracker.mode = "wandb", mode
    config.tracker.project = project or config.tracker.project or compose_config(["tracker=wandb"]).tracker.project
    mirror = WandbMirror(config, folder, run_id(config), problems.append)
    mirror.start(folder.read_metrics())
    mirror.finish(folder.read_result()) if folder.is_done else mirror.close()
    return problems[0] if problems else None


def main() -> int:
    """The script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, help="a run folder, or a folder of run folders")
    parser.add_argument("--mode", choices=("online", "offline"), default="online")
    parser.add_argument("--project", help="in place of the one in each run's config")
    options = parser.parse_args()
    folders = run_folders(options.runs)
    if not folders:
        print(f"wandb_sync: error: {options.runs}: no run folder in it", file=sys.stderr)
        return EXIT_BAD_INPUT
    failed = 0
    for number, folder in enumerate(folders, 1):
        try:
            problem = "it is running" if folder.is_running() else sync(folder, options.mode, options.project)
        except (AcdcError, OSError) as error:
            problem = str(error)
        failed += problem is not None
        print(f"{number}/{len(folders)} {folder.path.name}: {problem or 'in step with its records'}")
    return EXIT_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
