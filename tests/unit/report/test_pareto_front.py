"""Which rows no other one beats in both accuracy and training FLOPs, by hand."""

from __future__ import annotations

from acdc_cli.records.headline import TOP1
from acdc_cli.report.comparison import MeanOverSeeds, Row
from acdc_cli.report.comparison_figure import pareto_front


def row(name: str, top1: float, train_flops: float) -> Row:
    return Row(name, "", 0.9, 1, 0.9, 0.9, TOP1, MeanOverSeeds(top1, None, 1), None, 0.1, train_flops, 1.0, None, None)


def test_the_front_rises() -> None:
    rows = [row("a", 0.90, 0.6), row("b", 0.80, 0.2), row("c", 0.85, 0.7), row("d", 0.85, 0.4), row("e", 0.79, 0.3)]
    assert [each.method for each in pareto_front(rows)] == ["b", "d", "a"]


def test_of_equal_cost_the_more_accurate_and_of_equal_accuracy_the_cheaper() -> None:
    rows = [row("a", 0.8, 0.5), row("b", 0.9, 0.5), row("c", 0.9, 0.6)]
    assert [each.method for each in pareto_front(rows)] == ["b"]
