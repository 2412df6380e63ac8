"""What a run leaves in its folder and with W&B while it goes, and when it ends, however it ends. One rank keeps it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from acdc_cli.config.identity import run_id
from acdc_cli.config.schema import SettledConfig, plain
from acdc_cli.config.text import to_yaml
from acdc_cli.errors import AcdcError, Interrupted
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.run_result import RunResult
from acdc_cli.records.tracker import WandbMirror
from acdc_cli.report.page import write_page
from acdc_cli.system.signals import signals_held_back
from acdc_cli.training.best_models import keep_candidate, leave_best, remove_beaten, require_candidates
from acdc_cli.training.checkpoint import save_checkpoint
from acdc_cli.training.finish import save_masks
from acdc_cli.training.group import rank_is_lost
from acdc_cli.training.run import Run


class Records:
    """The record of a run. Its checkpoint is the truth; what is written around it follows from it.

    Args:
        folder: the run's, locked by this process if it writes.
        config: settled.
        writes: whether this is the rank that does; the others call the same methods, and nothing happens.
        say: takes lines for the user.
    """

    def __init__(self, folder: RunFolder, config: SettledConfig, writes: bool, say: Callable[[str], None]) -> None:
        self.run_id = run_id(config)
        self._folder, self._writes = folder, writes
        self._tracker = WandbMirror(plain(config), folder, self.run_id, say)
        self._epoch = 0

    def begin(self, config: SettledConfig) -> None:
        """Make the folder say what is running in it; ``run.overwrite`` empties it first."""
        if not self._writes:
            return
        if config.run.overwrite:
            self._folder.clear()
        with suppress(Damaged):
            self._epoch = self._folder.read_status().get("epoch", 0)
        self._folder.write_status("running", self._epoch)
        self._folder.write_text(self._folder.config, to_yaml(config))

    def resume(self, run: Run) -> None:
        """Bring everything to where the checkpoint is.

        Raises:
            AcdcError: if a model is lost that ``keep_best`` may still need.
        """
        self._epoch = run.epoch
        if self._writes:
            if run.config.keep_best:
                require_candidates(self._folder, run)
            self._folder.start_metrics(run.rows)
            self._tracker.start(run.rows)

    def save(self, run: Run) -> None:
        """Write the checkpoint. All ranks take part in making it."""
        state = run.state_dict()
        if self._writes:
            content = {"run_id": self.run_id, "run": state}
            save_checkpoint(self._folder.checkpoint, content, self._folder.previous_checkpoint)
            self._folder.write_status("running", self._epoch)

    def epoch(self, run: Run) -> None:
        """Put a finished epoch on record."""
        row, masks = run.rows[-1], run.method.masks
        if self._writes and row["phase"] == "sparse" and run.timeline.begins(row["epoch"]) and masks is not None:
            save_masks(self._folder, self._folder.masks / f"epoch_{row['epoch']:03d}.safetensors", masks)
        keeps_best = self._writes and run.config.keep_best
        if keeps_best:
            keep_candidate(self._folder, run)
        self.save(run)
        if keeps_best:
            remove_beaten(self._folder, run.rows, run.task.headline)
        self._epoch = run.epoch
        if self._writes:
            self._folder.append_metrics(row)
            self._folder.write_status("running", run.epoch)
            self._tracker.log(row)

    def finish(self, run: Run, result: RunResult) -> None:
        """Put the result on record: the run is done, and from now on its rows have a sum."""
        if not self._writes:
            return
        if run.config.keep_best:
            leave_best(self._folder, run)
        self._folder.close_metrics(run.rows)
        result = result | {"checksums": True}
        self._folder.write_json(self._folder.result, result)
        write_page(self._folder)
        self._tracker.finish(result)
        self._folder.write_status("done", self._epoch)

    def ended(self, error: BaseException) -> BaseException:
        """Write down how a run ended, and turn what a user can cause into one line."""
        state, reason = "failed", error
        if _is_interrupt(error):
            state = "interrupted"
            number = error.signal_number if isinstance(error, Interrupted) else None
            line = f"interrupted in epoch {self._epoch + 1}; the same command goes on: {self._folder.path}"
            reason = Interrupted(line, number)
        if self._writes:
            # A full disk may be why we are here; torchrun signals a rank that has just found another one lost.
            with suppress(OSError, AcdcError), signals_held_back():
                self._folder.write_status(
                    state, self._epoch, disk_error(reason) if isinstance(reason, OSError) else str(reason)
                )
            self._tracker.close(failed=True)  # last: W&B may take its time
        return reason


def _is_interrupt(error: BaseException) -> bool:
    """Signals, a reader of ours that has gone away, another rank that is lost: none is an error of this run."""
    return isinstance(error, (KeyboardInterrupt, SystemExit, BrokenPipeError, Interrupted)) or rank_is_lost(error)


def disk_error(error: OSError) -> str:
    """One line for a write or a read that failed."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
