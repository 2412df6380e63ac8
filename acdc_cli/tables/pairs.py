"""Pair each row's sparse model with its dense partner (AC/DC, Table 14), and record how far the two agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acdc_cli.tables.jobs import Job, SeedJobs


def dense_of(jobs: SeedJobs) -> Job | None:
    """Return the run whose dense model is the partner of the sparse model; None if it is the same run."""
    return jobs.finetuned or jobs.partner


def agreement_of(jobs: SeedJobs) -> Mapping[str, Any] | None:
    """Return the recorded agreement of the pair, or None if it has not been measured."""
    dense, run = dense_of(jobs), jobs.known_run
    if dense is None and not jobs.wants_finetuned:
        return run.folder.read_result()["agreement"]
    return None if dense is None else run.folder.read_agreements().get(dense.run_id)
