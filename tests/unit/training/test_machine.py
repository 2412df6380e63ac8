"""What a run takes of its machine when nothing is said."""

from __future__ import annotations

import pytest

from acdc_cli.config.compose import compose_config
from acdc_cli.planning.settle import cores, settle
from acdc_cli.training.machine import described


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("dataset=patches device=cuda", "all"),  # one core decodes far less than a GPU trains on
        ("dataset=imagenet device=cuda loader=torch", "all"),
        ("dataset=patches device=cpu", 0),  # the cores are busy training
        ("dataset=digits device=cuda", 0),
        ("dataset=patches device=cuda workers=0", 0),
        ("dataset=patches device=cpu workers=1", 1),
    ],
)
def test_reading_takes_all_cores_where_a_gpu_waits_for_images(
    typed: str, expected: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    settled = settle(compose_config([*typed.split(), "precision.compile=false"]), print)
    assert settled.workers == (cores() if expected == "all" else expected)


def test_the_machine_is_described_in_a_line() -> None:
    asked = compose_config(["loader=torch"])
    settled = compose_config(["loader=torch", "precision=bf16", "device=cpu", "threads=128"])
    assert described(asked, settled) == ["cpu with 128 threads, precision=bf16 (auto), loader=torch"]


def test_a_gpu_with_a_long_name_takes_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind `acdc-report: ` neither is longer than 80 columns; and the first one names the precision."""
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA RTX 6000 Ada Generation")
    settled = compose_config(["precision=bf16", "device=cuda", "loader=ffcv"])
    assert described(compose_config([]), settled) == [
        "NVIDIA RTX 6000 Ada Generation, precision=bf16 (auto)",
        "loader=ffcv (auto)",
    ]
