"""The machine a run is on: device, loader, threads and precision as they will really be."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable

import torch

from acdc_cli.config import Config, known
from acdc_cli.data.ffcv_availability import reading_problem
from acdc_cli.errors import BadInput

AUTOCAST_DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def settle(config: Config, warn: Callable[[str], None]) -> Config:
    """A copy of the config in which nothing is ``auto`` any more; what had to change is said through ``warn``.

    Raises:
        BadInput: if the device or loader that was asked for is not there.
    """
    config = copy.deepcopy(config)
    config.data_dir = os.path.abspath(config.data_dir)  # acdc-eval may be called from another folder
    if config.device == "auto":
        config.device = "cuda" if torch.cuda.is_available() else "cpu"
    elif config.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("device=cuda: PyTorch sees no CUDA device; nearest: device=cpu")
    if config.precision.dtype == "fp16" and config.device == "cpu":
        warn("precision=fp16 needs a GPU; running as bf16, and recorded as such")
        config.precision.dtype = "bf16"
    if config.precision.compile is None:
        config.precision.compile = config.device == "cuda" and _can_compile(warn)
    if config.loader != "device" and config.loader != "torch" and (problem := reading_problem()):
        if config.loader == "ffcv":
            raise BadInput(f"loader=ffcv: FFCV cannot be imported ({problem}); use loader=torch, or see acdc-doctor")
        warn(f"FFCV cannot be imported ({problem}); going on with loader=torch. acdc-doctor says how to mend it")
    if config.loader == "auto":
        config.loader = "torch" if reading_problem() else "ffcv"
    config.threads = config.threads or cores()
    if config.workers > cores():
        warn(f"workers={config.workers} is more than the {cores()} cores; running with workers={cores()}")
        config.workers = cores()
    return config


def _can_compile(warn: Callable[[str], None]) -> bool:
    """Whether torch.compile can make code for this GPU: Triton needs a C compiler to build what starts its kernels."""
    if any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return True
    warn("no C compiler, which torch.compile needs; going on without (precision.compile=false). apt-get install gcc")
    return False


def seed_everything(config: Config) -> None:
    """Weights and dropout from the seed; also the CPU threads and cuDNN's choices, on which results depend as well.

    cuDNN times its algorithms for every new shape and keeps the fastest: a run has few shapes (one or two batch sizes
    times its resolutions). The price is that two runs on a GPU may pick differently, and differ in their last bits.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = config.device == "cuda"
    torch.backends.cudnn.allow_tf32 = config.precision.dtype != "fp32"
    torch.set_num_threads(known(config.threads))


def autocast(config: Config) -> torch.autocast:
    """The run's autocast context; does nothing for fp32."""
    dtype = AUTOCAST_DTYPE.get(config.precision.dtype)
    return torch.autocast(config.device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(config: Config) -> torch.amp.GradScaler:
    """Scales fp16 losses; passes everything through in other precisions."""
    return torch.amp.GradScaler(config.device, enabled=config.precision.dtype == "fp16")
