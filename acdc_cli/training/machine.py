"""The machine a run is on: device, loader, threads and precision as they will really be."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable

import torch

from acdc_cli.config.schema import Config, known
from acdc_cli.data.ffcv_availability import reading_problem
from acdc_cli.data.options import image_facts
from acdc_cli.data.order import hash_of
from acdc_cli.data.source import is_own
from acdc_cli.errors import BadInput
from acdc_cli.ranks import ONE_RANK, Ranks
from acdc_cli.training.method_needs import settle_method
from acdc_cli.training.precision import device_kind, settle_precision
from acdc_cli.training.record_format import record_format

AUTOCAST_DTYPE = {"bf16": torch.bfloat16, "fp16": torch.float16}
LINE_WIDTH = 80 - len("acdc-report: ")  # columns that a terminal has left behind the longest name of a command
WEIGHT_DTYPE = {"fp64": torch.float64}  # of the others: float32


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def settle(config: Config, warn: Callable[[str], None], ranks: Ranks = ONE_RANK) -> Config:
    """A copy of the config in which nothing is ``auto`` any more; what had to change is said through ``warn``.

    ``threads`` stays what the ranks of this machine have together, so that the id does not depend on their number.

    Raises:
        BadInput: if the device, the loader or the network that was asked for is not there, or the network does not take
            images of this size.
    """
    config = copy.deepcopy(config)
    config.data_dir = os.path.abspath(config.data_dir)  # acdc-eval may be called from another folder
    _settle_data(config)  # before the device: that data are missing is said first
    config.device = device_kind(config.device)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise BadInput("device=cuda: PyTorch sees no CUDA device; nearest: device=cpu")
    if config.device == "cuda" and ranks.local_count > max(1, torch.cuda.device_count()):
        raise BadInput(
            f"{ranks.local_count} ranks on a machine with {torch.cuda.device_count()} GPUs: a rank needs one of its "
            f"own; nearest: --nproc-per-node={torch.cuda.device_count()}"
        )
    if config.sync_batch_norm and config.device != "cuda":
        raise BadInput("sync_batch_norm=true: PyTorch has it for CUDA only; nearest: sync_batch_norm=null")
    settle_precision(config, warn)
    if config.precision.compile is None:
        config.precision.compile = config.device == "cuda" and _can_compile(warn)
    settle_method(config, ranks)
    config.record_format = record_format(config)
    if config.loader != "device" and config.loader != "torch" and (problem := reading_problem()):
        if config.loader == "ffcv":
            raise BadInput(f"loader=ffcv: FFCV cannot be imported ({problem}); use loader=torch, or see acdc-doctor")
        warn(f"FFCV cannot be imported ({problem}); going on with loader=torch. acdc-doctor says how to mend it")
    if config.loader == "auto":
        config.loader = "torch" if reading_problem() else "ffcv"
    config.threads = config.threads or cores()
    own_cores = max(1, cores() // ranks.local_count)
    if config.workers is None:
        reads_images = image_facts(config).reads_files
        config.workers = own_cores if reads_images and config.device == "cuda" else 0  # a CPU is busy training
    if config.workers > own_cores:
        of_a_rank = f" of each of {ranks.local_count} ranks" if ranks.local_count > 1 else ""
        warn(
            f"workers={config.workers} is more than the {own_cores} cores{of_a_rank}; running with workers={own_cores}"
        )
        config.workers = own_cores
    return config


def _settle_data(config: Config) -> None:
    """Find out which content data of the user's own have; a config of a run folder knows it already."""
    dataset = config.dataset
    if not is_own(dataset.name):
        return
    from acdc_cli.data.own import locate_own_data  # and with it all that prepares data, which other sets may not need

    if dataset.options.source is not None:
        dataset.options.source = os.path.abspath(os.path.expanduser(dataset.options.source))
    if dataset.content_hash is None:
        dataset.content_hash = locate_own_data(dataset.name, dataset.options, config.data_dir)[1]


def described(asked: Config, settled: Config) -> list[str]:
    """The machine's part of a run: device, threads, precision and loader, and which of them it chose; mostly one line.

    A GPU with a long name has two lines, so that a terminal of 80 columns breaks none of them.
    """
    device = torch.cuda.get_device_name() if settled.device == "cuda" else f"cpu with {settled.threads} threads"
    chosen = {"auto": " (auto)"}
    precision = f"precision={settled.precision.dtype}{chosen.get(asked.precision.dtype, '')}"
    loader = f"loader={settled.loader}{chosen.get(asked.loader, '')}"
    line = f"{device}, {precision}, {loader}"
    return [line] if len(line) <= LINE_WIDTH else [f"{device}, {precision}", loader]


def check_ranks(config: Config, ranks: Ranks) -> None:
    """Raise BadInput if a step's samples cannot be dealt out evenly, or in no order that there is for ranks."""
    places, passes = ranks.count * (config.accumulation or 1), config.accumulation or 1
    if config.batch_size % places:
        nearest = max(1, round(config.batch_size / places)) * places
        raise BadInput(
            f"batch_size={config.batch_size}: does not divide among {ranks.count} ranks with {passes} passes a step "
            f"(accumulation); nearest: batch_size={nearest}"
        )
    if config.shuffle_window is not None and ranks.count > 1:
        raise BadInput(
            f"shuffle_window={config.shuffle_window}: quasi-random order is for one rank, and there are {ranks.count}: "
            "each would need every stretch of the file in memory; use shuffle_window=null"
        )


def _can_compile(warn: Callable[[str], None]) -> bool:
    """Whether torch.compile can make code for this GPU: Triton needs a C compiler to build what starts its kernels."""
    if any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return True
    warn("no C compiler, which torch.compile needs; going on without (precision.compile=false). apt-get install gcc")
    return False


def prepare_torch(config: Config, ranks: Ranks) -> None:
    """The weights' seed; also the CPU threads and cuDNN's choices, on which results depend as well.

    cuDNN times its algorithms for every new shape and keeps the fastest: a run has few shapes (one or two batch sizes
    times its resolutions). The price is that two runs on a GPU may pick differently, and differ in their last bits.
    """
    torch.manual_seed(config.seed)
    torch.backends.cudnn.benchmark = config.device == "cuda"
    torch.backends.cudnn.allow_tf32 = config.precision.dtype not in ("fp32", "fp64")
    torch.set_num_threads(max(1, known(config.threads) // ranks.local_count))


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Let what a step draws on the device, such as dropout, depend on nothing but these: there is no state to save."""
    torch.manual_seed(hash_of(seed, epoch, step, rank))


def device_of(config: Config, ranks: Ranks) -> torch.device:
    """The device of this rank; config.device says of which kind."""
    return torch.device("cuda", ranks.local_rank) if config.device == "cuda" else torch.device(config.device)


def autocast(config: Config) -> torch.autocast:
    """The run's autocast context; does nothing for fp32."""
    dtype = AUTOCAST_DTYPE.get(config.precision.dtype)
    return torch.autocast(config.device, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def gradient_scaler(config: Config) -> torch.amp.GradScaler:
    """Scales fp16 losses; passes everything through in other precisions."""
    return torch.amp.GradScaler(config.device, enabled=config.precision.dtype == "fp16")
