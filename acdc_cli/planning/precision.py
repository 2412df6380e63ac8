"""Which number format a run computes in: what ``precision=auto`` becomes on a device, and what emulation costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from acdc_cli.config.schema import Config
from acdc_cli.system.processors import may_have_gpu

# Flags of /proc/cpuinfo that mean arithmetic in bfloat16: x86's AVX512-BF16 and AMX, and Arm's BF16 extension.
BFLOAT16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# What ``auto`` can become on a kind of device, the preferred format first.
AUTOMATIC_DTYPES = {"cuda": ("bf16", "fp16"), "cpu": ("bf16", "fp32")}


def device_kind(asked: str) -> str:
    """``cuda`` or ``cpu`` for the ``device`` that was asked for: auto is the GPU where PyTorch sees one."""
    if asked != "auto":
        return asked
    return "cuda" if sees_gpu() else "cpu"


def sees_gpu() -> bool:
    """Whether PyTorch sees a GPU. It is imported only where there may be one."""
    if not may_have_gpu():
        return False
    import torch

    return torch.cuda.is_available()


def processor_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The processor's instruction-set flags as Linux names them; empty where the system does not say."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        flag
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for flag in line.split(":", 1)[1].split()
    )


def computes_bfloat16(device: str, features: Iterable[str]) -> bool:
    """Whether a device computes in bfloat16 itself. A processor that does not emulates it, many times slower.

    Args:
        device: "cuda" or "cpu".
        features: the processor's flags, see ``processor_features``; not read for "cuda".
    """
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not BFLOAT16_FEATURES.isdisjoint(features)


def automatic_dtype(device: str, features: Iterable[str]) -> str:
    """What ``precision=auto`` becomes: bf16 where the device computes in it, else fp16 on CUDA and fp32 on a CPU."""
    preferred, otherwise = AUTOMATIC_DTYPES[device]
    return preferred if computes_bfloat16(device, features) else otherwise


def settled_dtype(config: Config, warn: Callable[[str], None], features: Iterable[str] | None = None) -> str:
    """The format that the run will compute in: another one than ``precision.dtype`` for auto, and for fp16 on a CPU.

    Args:
        config: its ``device`` is settled.
        warn: takes one line where the choice is not what was asked for, or is an expensive one.
        features: the processor's flags; None: this machine's.
    """
    features = processor_features() if features is None else frozenset(features)
    asked = config.precision.dtype
    if asked == "auto":
        return automatic_dtype(config.device, features)
    if asked == "fp16" and config.device == "cpu":
        becomes = automatic_dtype(config.device, features)
        warn(f"precision=fp16 needs a GPU; running as {becomes}, and recorded as such")
        return becomes
    if asked == "bf16" and not computes_bfloat16(config.device, features):
        warn(
            f"precision=bf16: this {'GPU' if config.device == 'cuda' else 'processor'} has no bfloat16 arithmetic and "
            f"emulates it, which on a CPU was measured to take 11 times as long a step as fp32 (ResNet20); "
            f"precision=auto picks {automatic_dtype(config.device, features)}"
        )
    return asked


def planned_dtype(config: Config) -> str:
    """The format that a run of this config would compute in here; as asked for another machine's device."""
    device = device_kind(config.device)
    if device == "cpu" or sees_gpu():
        return settled_dtype(replace(config, device=device), lambda line: None)
    return config.precision.dtype
