"""The typed schema behind the YAML: types and ranges, no defaults. Every value comes from conf/ or the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from hydra.core.config_store import ConfigStore

from acdc_cli.parts import DATASETS

T = TypeVar("T")


def one_of(*choices: str) -> Any:
    """A field that takes one of these words."""
    return field(metadata={"choices": choices})


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False) -> Any:
    """A field with the range [low, high]; ``above`` and ``below`` leave out the lower or the upper end."""
    return field(metadata={"range": (low, high, above, below)})


# model.family -> the keys of `model` that it reads; the others are null.
READ_BY_FAMILY: dict[str, tuple[str, ...]] = {
    "cifar_resnet": ("depth", "width", "shortcut"),
    "wide_resnet": ("depth", "width", "dropout"),
    "resnet50": (),
    "mobilenet_v1": (),
    "torchvision": (),
    "timm": (),
}
# method.name -> the keys of `method` that it reads; the others are null.
READ_BY_METHOD: dict[str, tuple[str, ...]] = {
    "acdc": ("reset_moments",),
    "gmp": ("start", "end", "interval_steps", "interval_epochs", "initial_sparsity", "power"),
    "rigl": ("start", "end", "interval_steps", "drop_fraction", "layerwise"),
    "set": ("start", "end", "interval_steps", "drop_fraction", "layerwise"),
    "top_kast": ("backward_sparsity", "interval_steps", "layerwise"),
    "str": ("s_init", "s_weight_decay"),
    "dsd": ("start", "end"),
    "sparse_vd": ("start", "end", "kl_weight", "log_alpha_threshold", "initial_log_sigma2"),
    "iht": ("interval_steps",),
    "static": ("layerwise",),
    "snip": (),
    "magnitude": (),
    "woodfisher": (
        *("start", "end", "interval_epochs", "initial_sparsity", "power"),
        *("fisher_samples", "fisher_batch", "fisher_damping", "fisher_block", "fisher_joint"),
        *("fisher_compact", "fisher_update_scale"),
    ),
    "dense": (),
}
# method.name -> the key of `method` that decides how sparse a run ends, where the target is only what is wished for.
DECIDES_SPARSITY: dict[str, str] = {"sparse_vd": "kl_weight", "str": "s_weight_decay"}
SET_BY_MACHINE = ("fisher_block",)  # of these, those that null leaves to the machine
OFF_WHEN_NULL = ("fisher_compact", "fisher_update_scale")  # and those that it leaves out: no, and the whole update
FROM_DENSE = ("magnitude", "woodfisher")  # prune a trained dense network; without start_from, one is trained first
READ_DENSE_RUN = (*FROM_DENSE, "gmp")  # gmp prunes one where `dense_run` says so
# Families that are whole libraries: ``model.name`` is one of their models, and not just what the run is called.
LIBRARIES = ("torchvision", "timm")


@dataclass(kw_only=True)
class ModelConfig:
    """Which network; null where its family does not read a value."""

    name: str
    family: str = one_of(*READ_BY_FAMILY)
    depth: int | None = number(8)
    width: int | None = number(1)  # channels of the first stage; of a wide ResNet, in units of 16
    shortcut: str | None = one_of("identity", "conv")
    dropout: float | None = number(0, 1, below=True)  # share of activations dropped inside a block
    batch_norm_eps: float | None = number(0, above=True)  # null: the model's own, 1e-5 as a rule


@dataclass(kw_only=True)
class DatasetConfig:
    """Which images, and how training batches are augmented."""

    name: str = one_of(*DATASETS.names())
    crop_padding: int | None = number(0)  # pixels of zeros on each side before a random crop back to size
    flip: bool = field()  # random left-right flip
    resolution: int | None = number(1)  # of evaluation, pixels
    resize_ratio: float | None = number(0, 1, above=True)  # of the short side, what the centre crop of evaluation takes
    train_resolution_start: int | None = number(1)
    train_resolution_end: int | None = number(1)
    ramp_start: float | None = number(0, 1)  # fractions of the run between which the training resolution changes
    ramp_end: float | None = number(0, 1)
    resolution_multiple: int | None = number(1)
    crop_scale_min: float | None = number(0, 1, above=True)  # least share of the area that a random resized crop takes
    source: str | None = field()  # folder or file of data of the user's own
    content_hash: str | None = field()  # derived: of such data; what the id knows of them
    pad_to: int | None = number(1)  # pixels that smaller images are padded to with zeros
    val_share: float | None = number(0, 1, above=True, below=True)  # of class folders that nobody has split
    split_seed: int | None = number(0)


@dataclass(kw_only=True)
class ScheduleConfig:
    """When the run is dense and when sparse."""

    epochs: int = number(1)  # the schedule's own length, used when `epochs` is null
    warmup_epochs: int | None = number(0)
    sparse_epochs: int | None = number(1)
    dense_epochs: int | None = number(1)
    final_sparse_epochs: int | None = number(1)
    phases: Any = field()  # [[dense, 0, 10], [sparse, 10, 20], ...] in full, or null
    boundaries: list[float] | None = field()  # fractions of the run at which the phase kind changes, dense first
    published: dict[str, int] | None = field()  # the four numbers at the schedule's own length, null: the defaults


@dataclass(kw_only=True)
class SparsityConfig:
    """How much is pruned, and how it is spread over the layers."""

    target: Any = field()  # a number in [0, 1) or N:M
    distribution: str = one_of("global", "uniform", "erk")
    min_layer_density: float = number(0, 1)
    block: list[int] | None = field()  # [outputs, inputs] of blocks removed as a whole
    indivisible: str = one_of("skip", "error", "flatten")
    rules: Any = field()  # {word, kind or name pattern: target}; resolved to pairs, because the last match wins


@dataclass(kw_only=True)
class MethodConfig:
    """Which sparse method."""

    name: str = one_of(*READ_BY_METHOD)
    reset_moments: bool | None = field()
    start: float | None = number(0, 1)  # fractions of the run between which masks move
    end: float | None = number(0, 1)
    interval_steps: int | None = number(1)  # optimizer steps between two moves
    interval_epochs: int | None = number(1)  # epochs between two prunings
    initial_sparsity: float | None = number(0, 1, below=True)
    power: float | None = number(0, above=True)  # of the gradual schedule: 3 is cubic
    drop_fraction: float | None = number(0, 1)  # of a layer's connections that move
    backward_sparsity: float | None = number(0, 1, below=True)
    kl_weight: float | None = number(0)  # of the KL divergence, beside the mean loss times the training samples
    log_alpha_threshold: float | None = number()  # weights at or above it are zero
    initial_log_sigma2: float | None = number()
    layerwise: str | None = one_of("erk", "uniform")  # what a global target becomes
    s_init: float | None = number()  # str: every layer's threshold begins at sigmoid(s_init)
    s_weight_decay: float | None = number(0)  # str: pulls s towards 0, and so the threshold up to 1/2
    fisher_samples: int | None = number(1)  # gradients of a Fisher matrix
    fisher_batch: int | None = number(1)  # samples that each of them is the mean of
    fisher_damping: float | None = number(0, above=True)
    fisher_block: int | None = number(1)  # weights of a layer that are seen together
    fisher_joint: bool | None = field()  # whether what stays reacts to all weights that go at once
    fisher_compact: bool | None = field()  # whether blocks are of weights that are still there; null: of all
    fisher_update_scale: float | None = number(0, 1)  # of what moves the weights that stay; null: all of it


@dataclass(kw_only=True)
class OptimizerConfig:
    """Which optimizer; null where it does not read a value."""

    name: str = one_of("sgd", "adam", "adamw", "nadam", "lamb")
    lr: float = number(0, above=True)  # peak learning rate
    lr_batch_size: int | None = number(1)  # batch size that lr is for: scaled linearly to batch_size; null: as written
    weight_decay: float = number(0)
    decay_norms_and_biases: bool = field()
    momentum: float | None = number(0, 1, below=True)
    nesterov: bool | None = field()
    beta1: float | None = number(0, 1, below=True)
    beta2: float | None = number(0, 1, below=True)


@dataclass(kw_only=True)
class LrScheduleConfig:
    """How the learning rate moves below its peak, ``optimizer.lr``."""

    shape: str = one_of("cosine", "linear", "step", "constant")
    unit: str = one_of("step", "epoch")  # how often the rate changes
    warmup_epochs: float = number(0)
    milestones: list[float] | None = field()  # epochs, for shape=step
    gamma: float | None = number(0, 1, above=True)  # factor at each milestone
    stretch: bool | None = field()  # warm-up and milestones grow with a run that is longer than the schedule


@dataclass(kw_only=True)
class PrecisionConfig:
    """Number formats and memory layout of a training step."""

    dtype: str = one_of("auto", "fp32", "bf16", "fp16", "fp64")
    channels_last: bool = field()
    compile: bool | None = field()  # torch.compile; null: on CUDA, not on a CPU


@dataclass(kw_only=True)
class TrackerConfig:
    """Who watches."""

    name: str = one_of("wandb", "none")
    mode: str | None = one_of("auto", "online", "offline")
    project: str | None = field()
    entity: str | None = field()


@dataclass(kw_only=True)
class RunConfig:
    """What the run is called, whether it starts over, what it reports. Never part of its id."""

    name: str | None = field()
    experiment: str | None = field()
    overwrite: bool = field()
    starved_below: int = number(0)  # weights; a layer left with fewer is reported when a sparse phase begins


@dataclass(kw_only=True)
class CheckpointConfig:
    """When a run saves its position. Never part of its id: nothing that it computes depends on it."""

    every_minutes: float | None = number(0)  # inside an epoch; at its end it always does; null: only there


@dataclass(kw_only=True)
class Config:
    """Everything that a run is decided by."""

    model: ModelConfig
    dataset: DatasetConfig
    schedule: ScheduleConfig
    sparsity: SparsityConfig
    method: MethodConfig
    optimizer: OptimizerConfig
    lr_schedule: LrScheduleConfig
    precision: PrecisionConfig
    tracker: TrackerConfig
    run: RunConfig
    checkpoint: CheckpointConfig
    start_from: str | None = field()  # a run's folder or a model file
    start_from_hash: str | None = field()  # derived: of the file; what the id knows of it
    record_format: int | None = number(1)  # derived: 2 where records of the model count otherwise than the first did
    dense_run: list[str] | None = field()  # overrides: the recipe of the dense run that is pruned; null: the run's own
    masks: str | None = one_of("from_weights")
    finetune: str | None = one_of("dense")
    finetune_start: str | None = one_of("last", "best")  # where in start_from it begins; last becomes null
    first_epoch: int | None = number(0)  # derived: where a fine-tuning run begins
    bn_recalibration: bool | None = field()
    keep_best: bool | None = field()  # the models of the best epochs too; false becomes null
    seed: int = number(0, 2**31 - 1)
    epochs: int | None = number(1)
    batch_size: int = number(1)  # samples an optimizer step, over all ranks
    accumulation: int | None = number(1)  # forward and backward passes a step; null: one
    sync_batch_norm: bool | None = field()  # statistics over all ranks
    shuffle_window: int | None = number(1)  # samples that are mixed with each other; null: all
    label_smoothing: float = number(0, 1, below=True)
    loader: str = one_of("auto", "ffcv", "torch", "device")
    device: str = one_of("auto", "cpu", "cuda")
    workers: int | None = number(0)  # null: by the device and the data set
    os_cache: bool | None = field()  # false: the loader drops from memory what it has read; null: true
    threads: int | None = number(1, 1024)
    data_dir: str = field()
    runs_dir: str = field()
    plan: bool | None = field()


def is_pruned_to_target(config: Config) -> bool:
    """Whether the run reads ``sparsity``: neither without masks nor with those of the weights it starts from."""
    return config.method.name != "dense" and config.masks != "from_weights"


def prunes_a_dense_run(config: Config) -> bool:
    """Whether the method goes on from a trained dense network, which is made first where there is no ``start_from``."""
    return config.method.name in FROM_DENSE or config.dense_run is not None


def known(value: T | None) -> T:
    """A value that is null only before its config was completed (``compose``) or settled (``training.machine``)."""
    assert value is not None, "the config is not complete"
    return value


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml refers to."""
    ConfigStore.instance().store(name="schema", node=Config)


def schema_keys(node: Any = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key that holds a value -> its dataclass field."""
    keys: dict[str, Any] = {}
    types = get_type_hints(node)
    for entry in fields(node):
        if is_dataclass(types[entry.name]):
            keys |= schema_keys(types[entry.name], f"{prefix}{entry.name}.")
        else:
            keys[prefix + entry.name] = entry
    return keys
