"""The columns that a results table can have: heading, unit, and how the value is read from a run's records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from acdc_cli.records.headline import headline_of

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """The records of one row under one seed. Records that do not exist are None.

    Attributes:
        result: result.json of the run.
        finetuned: result.json of the run that fine-tunes the dense partner.
        partner: result.json of the run whose dense model is the partner, if that is another run.
        agreement: agreement of the sparse model with the dense partner.
        baseline_epochs: epochs of the dense run whose training FLOPs are the unit; None means the run's own number.
    """

    result: Record
    finetuned: Record | None = None
    partner: Record | None = None
    agreement: Record | None = None
    baseline_epochs: int | None = None


@dataclass(frozen=True)
class Column:
    """One column of a results table.

    Attributes:
        heading: with the unit.
        read: returns the value from a row's records, or None if the records do not have it.
        digits: number of decimals.
        is_written: whether the program already writes this number into the records.
    """

    heading: str
    read: Callable[[Measured], float | None]
    digits: int = 2
    is_written: bool = True


def _percent(section: Record | None, key: str) -> float | None:
    value = None if section is None else section.get(key)
    return None if value is None else 100 * value


def _number(section: Record | None, key: str) -> float | None:
    return None if section is None else section.get(key)


def _headline(result: Record, section: Record | None, prefix: str) -> float | None:
    """Return the metric that the run's task shows first, such as an error that is to be small."""
    return _number(section, prefix + headline_of(result).val_key)


def _own(measured: Measured) -> Record:
    """Return the section of the sparse model, or of the dense one if there is no sparse model."""
    return measured.result["sparse"] or measured.result["dense"]


def _partner(measured: Measured) -> Record | None:
    return measured.result["dense"] if measured.partner is None else measured.partner["dense"]


def _over_baseline(measured: Measured, result: Record | None) -> float | None:
    """Return training FLOPs as a fraction of a dense run with the baseline's epochs at the evaluation resolution.

    The recorded fraction is relative to the run's own training images, which may be smaller in some recipes.
    """
    if result is None:
        return None
    epochs = measured.baseline_epochs or result["epochs"]
    if "train_samples" not in result:  # an older record; the formula is right for runs at one resolution
        return result["train_flops_fraction"] * result["epochs"] / epochs
    return result["train_flops_total"] / (3 * result["dense_inference_flops"] * result["train_samples"] * epochs)


def _finetuned(measured: Measured) -> Record | None:
    return None if measured.finetuned is None else measured.finetuned["dense"]


def _latency(engine: str, setting: str) -> Callable[[Measured], float | None]:
    return lambda run: run.result.get("latency_ms", {}).get(engine, {}).get(setting)


# Accuracies and sparsities are percentages, as in the papers. FLOPs are fractions of a dense run's.
COLUMNS: dict[str, Column] = {
    "sparsity": Column("sparsity %", lambda run: _percent(run.result, "sparsity")),
    "top1": Column("top-1 %", lambda run: _percent(_own(run), "val_top1")),
    "best_top1": Column("best top-1 %", lambda run: _percent(_own(run), "best_val_top1")),
    "dense_top1": Column("dense top-1 %", lambda run: _percent(_partner(run), "val_top1")),
    "best_dense_top1": Column("best dense top-1 %", lambda run: _percent(_partner(run), "best_val_top1")),
    "finetuned_top1": Column("dense, fine-tuned %", lambda run: _percent(_finetuned(run), "val_top1")),
    "best_finetuned_top1": Column("best dense, fine-tuned %", lambda run: _percent(_finetuned(run), "best_val_top1")),
    "headline": Column("metric", lambda run: _headline(run.result, _own(run), ""), 4),
    "best_headline": Column("best metric", lambda run: _headline(run.result, _own(run), "best_"), 4),
    "dense_headline": Column("dense metric", lambda run: _headline(run.result, _partner(run), ""), 4),
    "inference_flops": Column("inference FLOPs", lambda run: _own(run)["inference_flops_fraction"]),
    "train_flops": Column("training FLOPs", lambda run: _over_baseline(run, run.result)),
    "finetuned_train_flops": Column("with fine-tuning", lambda run: _over_baseline(run, run.finetuned)),
    "zeros_in_dense_model": Column("zeros in dense %", lambda run: _percent(_partner(run), "sparsity"), 1),
    "agreement": Column("agreement %", lambda run: _percent(run.agreement, "top1"), 1),
    "cross_entropy": Column("cross-entropy", lambda run: _number(run.agreement, "cross_entropy")),
    "perplexity": Column("sparse perplexity", lambda run: _number(_own(run), "val_perplexity")),
    "dense_perplexity": Column("dense perplexity", lambda run: _number(_partner(run), "val_perplexity")),
    "finetuned_perplexity": Column("dense, fine-tuned", lambda run: _number(_finetuned(run), "val_perplexity")),
    "glue_score": Column("dev score", lambda run: _number(_own(run), "val_score")),
    "onnx_batch_1": Column("ONNX Runtime ms, batch 1, 4 cores", _latency("onnxruntime", "batch_1_cores_4"), 3, False),
    "deepsparse_batch_1": Column(
        "DeepSparse ms, batch 1, 4 cores", _latency("deepsparse", "batch_1_cores_4"), 3, False
    ),
    "onnx_batch_64": Column(
        "ONNX Runtime ms, batch 64, 16 cores", _latency("onnxruntime", "batch_64_cores_16"), 3, False
    ),
    "deepsparse_batch_64": Column(
        "DeepSparse ms, batch 64, 16 cores", _latency("deepsparse", "batch_64_cores_16"), 3, False
    ),
}

# With ``selection: best``, the columns on the left (end of the run) are replaced by those on the right (best epoch).
BEST_OF = {
    "top1": "best_top1",
    "dense_top1": "best_dense_top1",
    "finetuned_top1": "best_finetuned_top1",
}
