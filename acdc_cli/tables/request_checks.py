"""Whether what is typed beside a table's name goes with the table's rows."""

from __future__ import annotations

from collections.abc import Sequence

from acdc_cli.config.command_line import key_of
from acdc_cli.errors import BadInput, not_a_choice
from acdc_cli.tables.fill import OF_OWN_MARK
from acdc_cli.tables.jobs import Request
from acdc_cli.tables.spec import SELECTIONS, TableSpec

DECIDED_BY_ROWS = ("seed", "method", "sparsity", "experiment", "run", "finetune", "start_from", "plan")


def check_request(specs: Sequence[TableSpec], request: Request) -> None:
    """Raise BadInput for a key that the rows decide, or a start of the fine-tuning that the runs do not keep."""
    _refuse_what_rows_decide(specs, request)
    _check_finetune_start(request)


def _refuse_what_rows_decide(specs: Sequence[TableSpec], request: Request) -> None:
    """A row is called after its settings: with others it would be another row. Of other data and models marks tell."""
    of_rows = {
        key_of(override) for spec in specs for row in spec.rows for override in row.overrides[request.scale] or ()
    } - set(OF_OWN_MARK)
    for override in request.extra:
        key = key_of(override)
        if key in of_rows or key.partition(".")[0] in DECIDED_BY_ROWS:
            raise BadInput(f"{override}: the table's rows decide that; --seeds N says how many seeds")


def _check_finetune_start(request: Request) -> None:
    start, keeps = request.finetune_start, [each for each in request.extra if key_of(each) == "keep_best"]
    if start not in SELECTIONS:
        raise not_a_choice("finetune_start", start, SELECTIONS)
    if start == "best" and keeps[-1:] != ["keep_best=true"]:
        raise BadInput("finetune_start=best: needs the models of the runs' best epochs; add keep_best=true")
