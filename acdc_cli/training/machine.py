"""What PyTorch is told of a settled config: device, threads, seeds and precision."""

from __future__ import annotations

import torch

from acdc_cli.config.schema import Config, SettledConfig
from acdc_cli.data.order import hash_of
from acdc_cli.ranks import Ranks

AUTOCAST_DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16}
LINE_WIDTH = 80 - len("acdc-report: ")  # columns that a terminal has left behind the longest name of a command
WEIGHT_DTYPE = {"fp64": torch.float64}  # of the others: float32


def described(asked: Config, settled: SettledConfig) -> list[str]:
    """The machine's part of a run: device, threads, precision and loader, and which of them it chose; mostly one line.

    A GPU with a long name has two lines, so that a terminal of 80 columns breaks none of them.
    """
    device = torch.cuda.get_device_name() if settled.device == "cuda" else f"cpu with {settled.threads} threads"
    chosen = {"auto": " (auto)"}
    precision = f"precision={settled.precision.dtype}{chosen.get(asked.precision.dtype, '')}"
    loader = f"loader={settled.loader}{chosen.get(asked.loader, '')}"
    line = f"{device}, {precision}, {loader}"
    return [line] if len(line) <= LINE_WIDTH else [f"{device}, {precision}", loader]


def prepare_torch(config: SettledConfig, ranks: Ranks) -> None:
    """The weights' seed; also the CPU threads and cuDNN's choices, on which results depend as well.

    cuDNN times its algorithms for every new shape and keeps the fastest: a run has few shapes (one or two batch sizes
    times its resolutions). The price is that two runs on a GPU may pick differently, and differ in their last bits.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = config.device == "cuda"
    torch.backends.cudnn.allow_tf32 = config.precision.dtype not in ("fp32", "fp64")
    torch.set_num_threads(max(1, config.threads // ranks.local_count))


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Let what a step draws on the device, such as dropout, depend on nothing but these: there is no state to save."""
    torch.manual_seed(hash_of(seed, epoch, step, rank))


def device_of(config: SettledConfig, ranks: Ranks) -> torch.device:
    """The device of this rank; config.device says of which kind."""
    return torch.device("cuda", ranks.local_rank) if config.device == "cuda" else torch.device(config.device)


def autocast(config: SettledConfig) -> torch.autocast:
    """The run's autocast context; does nothing for fp32."""
    dtype = AUTOCAST_DTYPE.get(config.precision.dtype)
    return torch.autocast(config.device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(config: SettledConfig) -> torch.amp.GradScaler:
    """Scales fp16 losses; passes everything through in other precisions."""
    return torch.amp.GradScaler(config.device, enabled=config.precision.dtype == "fp16")
