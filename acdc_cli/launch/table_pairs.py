"""Measuring how far the two models agree that a table shows beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from acdc_cli.errors import DataMissing
from acdc_cli.records.files import Damaged
from acdc_cli.tables.jobs import RowJobs
from acdc_cli.tables.pairs import dense_of


def measure_pairs(rows: Sequence[RowJobs], say: Callable[[str], None]) -> None:
    """Measure the agreement of all pairs whose two runs are done, and write it into the sparse run's folder.

    Args:
        rows: the rows of a table.
        say: prints one line.
    """
    from acdc_cli.training.reevaluate import pair_agreement

    for jobs in (jobs for row in rows for jobs in row.seeds):
        dense = dense_of(jobs)
        if dense is None or not jobs.is_done or dense.state != "done":
            continue
        sparse = jobs.known_run.folder
        measured = sparse.read_agreements()
        if dense.run_id in measured or sparse.read_result()["sparse"] is None:
            continue
        say(f"measuring the agreement of {sparse.path.name} with {dense.folder.path.name}")
        try:
            agreement = pair_agreement(sparse, dense.folder)
        except (Damaged, DataMissing) as error:  # the other pairs can still be measured
            say(f"agreement not measured: {error}")
            continue
        sparse.write_json(sparse.agreements, measured | {dense.run_id: agreement})
