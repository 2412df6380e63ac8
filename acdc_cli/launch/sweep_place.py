"""Which run of how many the current job of a sweep is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from acdc_cli.errors import EXIT_DONE
from acdc_cli.launch.launched import LAUNCHED, read_launched
from acdc_cli.launch.outcomes import read_outcomes
from acdc_cli.records.folder import RunFolder

if TYPE_CHECKING:
    from acdc_cli.training.progress import SweepPlace


def sweep_place() -> SweepPlace | None:
    """Where in its sweep Hydra's current job stands, and how long the finished runs took; None outside a sweep."""
    from acdc_cli.training.progress import SweepPlace  # torch, without which --help answers at once

    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir)
    if not (folder / LAUNCHED).is_file():
        return None
    launched = read_launched(folder)
    finished = [
        RunFolder(Path(outcome["run"])).read_result()["seconds"]
        for outcome in read_outcomes(folder)
        if outcome["exit_code"] == EXIT_DONE and outcome["run"] is not None
    ]
    return SweepPlace(hydra.job.num + 1, launched["jobs"], tuple(finished), launched["are_parallel"])
