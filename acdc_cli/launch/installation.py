"""What a run may stumble over on this machine: packages, devices, FFCV, W&B's key, the disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from acdc_cli.errors import typed_reason
from acdc_cli.system.processors import cores

REQUIRED = (
    "torch", "torchvision", "hydra-core", "omegaconf", "wandb", "numpy", "safetensors", "rich", "matplotlib",
    "scikit-learn", "pillow",
)  # fmt: skip
# Without the repository's scripts/install_ffcv.sh, the full OpenCV headers are the simplest way to build FFCV.
INSTALL_FFCV = (
    "sudo apt-get update && sudo apt-get install -y --no-install-recommends g++ pkg-config libopencv-dev "
    "libturbojpeg0-dev libgl1 libglib2.0-0 && {pip} install 'ffcv>=1.0.2' setuptools"
)
LEAST_FREE_BYTES = 2e9


class Finding(NamedTuple):
    """A line of the table. ``state``: "ok", "missing" (something fails) or "without" (there is a way round)."""

    what: str
    state: str
    detail: str
    fix: str = ""


def findings() -> Iterator[Finding]:
    """Everything that a run may stumble over, most basic first."""
    yield _python()
    yield from map(_package, REQUIRED)
    yield from _devices()
    yield _ffcv()
    yield _timm()
    yield _photographs()
    yield _wandb()
    yield _disk()


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _python() -> Finding:
    return Finding("Python", "ok", f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"{_pip()} install {name}")


def _devices() -> Iterator[Finding]:
    yield Finding("CPU", "ok", f"{cores()} cores")
    try:
        import torch
    except Exception as error:  # a broken native library raises what it likes
        yield Finding("import torch", "missing", typed_reason(error), f"{_pip()} install --force-reinstall torch")
        return
    from acdc_cli.planning.precision import automatic_dtype, computes_bfloat16, device_kind, processor_features

    device, features = device_kind("auto"), processor_features()
    if device == "cuda":
        yield Finding("GPU", "ok", torch.cuda.get_device_name())
    else:
        yield Finding("GPU", "without", "PyTorch sees none: runs use the CPU")
    capability = torch.backends.cpu.get_cpu_capability()
    bfloat16 = "" if computes_bfloat16("cpu", features) else "; it emulates bf16, many times slower than fp32"
    yield Finding(
        "precision", "ok", f"auto is {automatic_dtype(device, features)} here (processor: {capability}{bfloat16})"
    )


def _ffcv() -> Finding:
    from acdc_cli.data.beton.availability import ffcv_problem

    problem = ffcv_problem()
    if problem is None:
        return Finding("FFCV", "ok", f"{version('ffcv')}: loader=ffcv")
    checkout = Path(__file__).resolve().parent.parent.parent
    fix = "make setup" if (checkout / "Makefile").is_file() else INSTALL_FFCV.format(pip=_pip())
    return Finding("FFCV", "without", f"loader=torch is used ({problem})", fix)


def _timm() -> Finding:
    try:
        return Finding("timm", "ok", f"{version('timm')}: model=timm, optimizer=lamb")
    except PackageNotFoundError:
        return Finding("timm", "without", "no model=timm and no optimizer=lamb", f"{_pip()} install timm")


def _photographs() -> Finding:
    try:
        return Finding("scikit-image", "ok", f"{version('scikit-image')}: dataset=patches")
    except PackageNotFoundError:
        return Finding("scikit-image", "without", "no dataset=patches", f"{_pip()} install scikit-image")


def _wandb() -> Finding:
    try:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        has_key = bool(wandb.login(prompt=False))
    except Exception as error:
        return Finding("W&B key", "without", f"{typed_reason(error)}; runs are written offline")
    if has_key:
        return Finding("W&B key", "ok", "runs go online")
    return Finding("W&B key", "without", "none: runs are written offline, `wandb sync` uploads them", "wandb login")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    text = f"{free / 1e9:.0f} GB free here"
    if free >= LEAST_FREE_BYTES:
        return Finding("disk", "ok", text)
    return Finding("disk", "missing", text, "free some space, or set runs_dir= and data_dir= to another disk")
