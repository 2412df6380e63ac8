"""The peak of a process's memory on a CPU: a buffer that is touched and freed again is in it, until it is reset."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from acdc_cli.measure.memory import peak_memory_bytes, reset_peak_memory

CPU, MIB = torch.device("cpu"), 2**20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_kernel_that_does_not_know_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "Name: python\nVmRSS:\t  123 kB\n")
    assert peak_memory_bytes(CPU) == 0


def test_the_peak_has_what_was_freed_again_until_it_is_reset() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_bytes(CPU)
    buffer = bytearray(b"x" * (200 * MIB))
    del buffer
    with_buffer = peak_memory_bytes(CPU)
    assert 200 * MIB <= with_buffer - before < 500 * MIB
    reset_peak_memory(CPU)
    assert peak_memory_bytes(CPU) < with_buffer - 100 * MIB
