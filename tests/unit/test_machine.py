"""What a run takes of its machine when nothing is said."""

from __future__ import annotations

import pytest

from acdc_cli.compose import compose_config
from acdc_cli.training.machine import cores, settle


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
