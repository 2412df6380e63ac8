"""What the gradients of a Fisher matrix cost, in a run's ledger of FLOPs."""

from __future__ import annotations

from pathlib import Path

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.data.preparing.find import open_dataset
from acdc_cli.planning.settle import settle
from acdc_cli.training.build import build_run
from acdc_cli.training.loop import run_epoch
from acdc_cli.training.pauses import Pauses
from acdc_cli.training.progress import Progress
from acdc_cli.training.run import Run

SAMPLES, BATCH = 7, 3
# ResNet8 of width 4 over grey images of 8 x 8: weights of each layer, and the positions that it is used at.
LAYERS = ((36, 64), (144, 64), (144, 64), (288, 16), (576, 16), (1152, 4), (2304, 4), (160, 1))
FORWARD = sum(2 * weights * positions for weights, positions in LAYERS)


def short_run(data_dir: Path) -> Run:
    line = ["method=woodfisher", "sparsity=0.5", "model=resnet8", "model.width=4", "epochs=1", "batch_size=480"]
    fisher = [f"method.fisher_samples={SAMPLES}", f"method.fisher_batch={BATCH}", "method.fisher_block=10"]
    machine = ["precision=fp32", "device=cpu", "threads=1", "loader=device", "tracker=none", f"data_dir={data_dir}"]
    config = settle(compose_config([*line, *fisher, *machine]), lambda line: None)
    return build_run(config, open_dataset("digits", str(data_dir)))


def test_a_fisher_matrix_costs_three_passes_of_each_of_its_samples(data_dir: Path) -> None:
    """7 gradients of 3 images each, at the weights before they are pruned; the epoch's row has them once."""
    run = short_run(data_dir)
    assert run.samples == 1437
    passes = SAMPLES * BATCH * 3 * FORWARD
    run.method.begin_epoch(0)
    assert run.extra_flops == passes
    assert run.state_dict()["extra_flops"] == passes  # a run that is stopped here goes on with it
    with (
        Progress("run", run.timeline, run.steps_per_epoch, 0, run.config.batch_size, is_shown=False) as progress,
        Pauses(lambda: None, None, run.group, print) as pauses,
    ):
        row = run_epoch(run, progress, pauses)
    assert row["sparsity"] == pytest.approx(0.5, abs=1e-3)
    sparse = row["inference_flops"]
    assert sparse < FORWARD
    assert row["train_flops"] == 3 * sparse + round(passes / 1437)
    assert row["train_flops_total"] == 1437 * row["train_flops"]
    assert run.extra_flops == 0
