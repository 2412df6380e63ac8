"""The machine's part of a config: device, precision, loader, threads and workers as they will really be.

Torch is imported only where it has to be asked: the result of a run that is done is shown without it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

from acdc_cli.config.schema import Config, DatasetConfig, PrecisionConfig, SettledConfig, narrowed
from acdc_cli.data.beton.availability import reading_problem
from acdc_cli.data.options import reads_files
from acdc_cli.data.source import is_own
from acdc_cli.errors import BadInput
from acdc_cli.parts import MODELS
from acdc_cli.planning.method_needs import settled_method
from acdc_cli.planning.precision import device_kind, settled_dtype
from acdc_cli.ranks import ONE_RANK, Ranks
from acdc_cli.system.processors import cores

Say = Callable[[str], None]


def settle(
    config: Config,
    warn: Say,
    ranks: Ranks = ONE_RANK,
    ffcv_problem: Callable[[], str | None] = reading_problem,
) -> SettledConfig:
    """A copy of the config in which nothing is ``auto`` any more; what had to change is said through ``warn``.

    ``threads`` stays what the ranks of this machine have together, so that the id does not depend on their number.

    Args:
        warn: takes a line for the user.
        ffcv_problem: says why FFCV's files cannot be read here, or None.

    Raises:
        DataMissing: if data of the user's own are not there.
        BadInput: if the device, the loader or the network that was asked for is not there, or the network does not take
            images of this size.
    """
    config = replace(config, data_dir=os.path.abspath(config.data_dir))  # acdc-eval may be called from another folder
    config = replace(config, dataset=_settled_data(config))  # before the device: that data are missing is said first
    config = replace(config, device=device_kind(config.device))
    if config.device == "cuda":
        _check_gpus(ranks)
    if config.sync_batch_norm and config.device != "cuda":
        raise BadInput("sync_batch_norm=true: PyTorch has it for CUDA only; nearest: sync_batch_norm=null")
    config = replace(config, precision=_settled_precision(config, warn))
    config = replace(config, method=settled_method(config, ranks))
    if MODELS.part(config.model.family).facts.is_library:  # of the program's own networks the number is null
        from acdc_cli.planning.record_format import record_format

        config = replace(config, record_format=record_format(config))
    return narrowed(
        SettledConfig,
        config,
        loader=_settled_loader(config.loader, ffcv_problem, warn),
        threads=config.threads or cores(),
        workers=_settled_workers(config, ranks, warn),
    )


def _settled_data(config: Config) -> DatasetConfig:
    """Find out which content data of the user's own have; a config of a run folder knows it already."""
    dataset = config.dataset
    if not is_own(dataset.name):
        return dataset
    from acdc_cli.data.preparing.own import (
        locate_own_data,  # and with it all that prepares data, which other sets may not need
    )

    options = dataset.options
    if options.source is not None:
        options = replace(options, source=os.path.abspath(os.path.expanduser(options.source)))
    content_hash = dataset.content_hash
    if content_hash is None:
        content_hash = locate_own_data(dataset.name, options, config.data_dir)[1]
    return replace(dataset, options=options, content_hash=content_hash)


def _settled_precision(config: Config, warn: Say) -> PrecisionConfig:
    dtype, compiled = settled_dtype(config, warn), config.precision.compile
    if compiled is None:
        compiled = config.device == "cuda" and _can_compile(warn)
    return replace(config.precision, dtype=dtype, compile=compiled)


def _settled_loader(asked: str, ffcv_problem: Callable[[], str | None], warn: Say) -> str:
    if asked in ("device", "torch"):
        return asked
    if not (problem := ffcv_problem()):
        return "ffcv"
    if asked == "ffcv":
        raise BadInput(f"loader=ffcv: FFCV cannot be imported ({problem}); use loader=torch, or see acdc-doctor")
    warn(f"FFCV cannot be imported ({problem}); going on with loader=torch. acdc-doctor says how to mend it")
    return "torch"


def _settled_workers(config: Config, ranks: Ranks, warn: Say) -> int:
    own_cores = max(1, cores() // ranks.local_count)
    if config.workers is None:
        return own_cores if reads_files(config) and config.device == "cuda" else 0  # a CPU is busy training
    if config.workers > own_cores:
        of_a_rank = f" of each of {ranks.local_count} ranks" if ranks.local_count > 1 else ""
        warn(
            f"workers={config.workers} is more than the {own_cores} cores{of_a_rank}; running with workers={own_cores}"
        )
    return min(config.workers, own_cores)


def _check_gpus(ranks: Ranks) -> None:
    """Raise BadInput if PyTorch sees no GPU, or fewer than this machine's ranks need."""
    import torch

    if not torch.cuda.is_available():
        raise BadInput("device=cuda: PyTorch sees no CUDA device; nearest: device=cpu")
    if ranks.local_count > max(1, torch.cuda.device_count()):
        raise BadInput(
            f"{ranks.local_count} ranks on a machine with {torch.cuda.device_count()} GPUs: a rank needs one of its "
            f"own; nearest: --nproc-per-node={torch.cuda.device_count()}"
        )


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


def _can_compile(warn: Say) -> bool:
    """Whether torch.compile can make code for this GPU: Triton needs a C compiler to build what starts its kernels."""
    if any(shutil.which(compiler) for compiler in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return True
    warn("no C compiler, which torch.compile needs; going on without (precision.compile=false). apt-get install gcc")
    return False
