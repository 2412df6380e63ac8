"""Weights & Biases as a mirror of the run folder: it may be absent, offline or broken, and the run goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from acdc_cli.errors import typed_reason
from acdc_cli.records.epoch_row import EpochRow
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.run_result import RunResult

INIT_TIMEOUT_SECONDS = 20.0
FINISH_TIMEOUT_SECONDS = 120.0


class WandbMirror:
    """One W&B run for one run folder; every method swallows W&B's errors and says so once.

    Offline, the W&B folder is written anew from the records when a run resumes, so that one folder holds the whole
    history. Online, the W&B run is resumed and gets the rows it lacks.

    Args:
        config: the resolved config, as nested dictionaries.
        folder: the run's.
        run_id: the W&B run has the same one.
        warn: takes a line for the user.
    """

    def __init__(self, config: dict[str, Any], folder: RunFolder, run_id: str, warn: Callable[[str], None]) -> None:
        self._config, self._folder, self._run_id, self._warn = config, folder, run_id, warn
        self._run: Any = None

    def start(self, rows: list[EpochRow]) -> None:
        """Open the W&B run and bring it up to the records so far."""
        if self._config["tracker"]["name"] == "none":
            return
        self._guard(lambda: self._start(rows))

    def _start(self, rows: list[EpochRow]) -> None:
        home = self._folder.path / "wandb"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        # Artifacts are staged and cached here too, so that the folder can be copied elsewhere and synced.
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ[variable] = str(home)
        try:
            self._run = self._init(self._mode(), rows)
        except Exception as error:  # no key, no network, a service that does not start
            if self._config["tracker"]["mode"] == "offline":
                raise
            self._warn(f"W&B is not reachable ({typed_reason(error)}); going on offline, `wandb sync` uploads it later")
            self._run = self._init("offline", rows)
        for row in rows:
            if row["epoch"] >= self._run.step:
                self._run.log(row, step=row["epoch"], commit=True)

    def _mode(self) -> str:
        """tracker.mode; for auto, WANDB_MODE if it is set, else online if W&B has a key."""
        import wandb

        if (mode := self._config["tracker"]["mode"]) != "auto":
            return str(mode)
        return os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")

    def _init(self, mode: Any, rows: list[EpochRow]) -> Any:
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            init_timeout=INIT_TIMEOUT_SECONDS,
            finish_timeout=FINISH_TIMEOUT_SECONDS,
            reinit="finish_previous",
        )
        return wandb.init(
            project=self._config["tracker"]["project"],
            entity=self._config["tracker"]["entity"],
            id=self._run_id,
            name=self._folder.path.name,
            group=self._config["run"]["experiment"],
            config=self._config,
            dir=str(self._folder.path),
            mode=mode,
            resume="allow" if mode == "online" and rows else None,  # None: a run that starts over replaces its history
            settings=settings,
        )

    def log(self, row: EpochRow) -> None:
        """Mirror an epoch's record."""
        if self._run is not None:
            self._guard(lambda: self._run.log(row, step=row["epoch"], commit=True))

    def finish(self, result: RunResult) -> None:
        """Mirror the result, and the masks and models as artifacts; close the W&B run."""
        if self._run is not None:
            self._guard(lambda: self._finish(result))
        self.close()

    def _finish(self, result: RunResult) -> None:
        import wandb

        self._run.summary.update(result)
        masks = wandb.Artifact("masks", type="masks")
        for path in sorted(self._folder.masks.glob("*.safetensors")):
            masks.add_file(str(path), name=path.name)
        models = wandb.Artifact("models", type="models")
        for path in sorted(self._folder.models.glob("*.safetensors")):
            (masks if path.stem == "masks" else models).add_file(str(path), name=path.name)
        for artifact in (masks, models):
            if artifact.manifest.entries:
                self._run.log_artifact(artifact)

    def close(self, failed: bool = False) -> None:
        """Close the W&B run, however the run itself ended."""
        if self._run is not None:
            self._guard(lambda: self._run.finish(exit_code=int(failed)))
        self._run = None

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._warn(f"W&B: {typed_reason(error)}; the run goes on, its folder has everything")
            run, self._run = self._run, None
            if run is not None:
                with suppress(Exception):
                    run.finish(exit_code=1)
