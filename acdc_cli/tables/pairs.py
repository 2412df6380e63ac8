"""Which sparse model a row compares with which dense one (AC/DC, Table 14), and the record of how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from acdc_cli.config.schema import known
from acdc_cli.errors import DataMissing
from acdc_cli.records.files import Damaged
from acdc_cli.tables.jobs import Job, RowJobs, SeedJobs


def dense_of(jobs: SeedJobs) -> Job | None:
    """The run whose dense model stands beside the sparse one; None: the run's own."""
    return jobs.finetuned or jobs.partner


def agreement_of(jobs: SeedJobs) -> Mapping[str, Any] | None:
    """What the records say of the pair; None if it has not been measured."""
    dense, run = dense_of(jobs), known(jobs.run)
    if dense is None and not jobs.wants_finetuned:
        return run.folder.read_result()["agreement"]
    return None if dense is None else run.folder.read_agreements().get(dense.run_id)


def measure_pairs(rows: Sequence[RowJobs], say: Callable[[str], None]) -> None:
    """Measure the pairs whose two runs are done, and put what comes out beside the sparse model's records."""
    from acdc_cli.training.reevaluate import pair_agreement

    for jobs in (jobs for row in rows for jobs in row.seeds):
        dense = dense_of(jobs)
        if dense is None or not jobs.is_done or dense.state != "done":
            continue
        sparse = known(jobs.run).folder
        measured = sparse.read_agreements()
        if dense.run_id in measured or sparse.read_result()["sparse"] is None:
            continue
        say(f"agreement of {sparse.path.name} with {dense.folder.path.name}")
        try:
            agreement = pair_agreement(sparse, dense.folder)
        except (Damaged, DataMissing) as error:  # the other pairs can still be measured
            say(f"not measured: {error}")
            continue
        sparse.write_json(sparse.agreements, measured | {dense.run_id: agreement})
