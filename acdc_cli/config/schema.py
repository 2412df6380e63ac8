"""The typed schema behind the YAML: types and ranges, no defaults. Every value comes from conf/ or the command line.

A config goes through three types, and each one knows more than the one before: ``ComposedConfig`` is what was typed,
``Config`` is complete and checked, and a ``SettledConfig`` says what this machine makes of it. None of them changes:
every step returns a config of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

from hydra.core.config_store import ConfigStore

from acdc_cli.options import number, one_of
from acdc_cli.parts import DATASETS, METHODS, MODELS, TASKS, MethodFacts

# The groups whose keys are those of a part: what every part of the group has is here, the rest is its own ``options``.
PART_GROUPS = {
    "model": ("name", "family", "batch_norm_eps"),
    "dataset": ("name", "content_hash"),
    "method": ("name",),
    "task": ("name",),
}
PART_REGISTRIES = {"model": MODELS, "dataset": DATASETS, "method": METHODS, "task": TASKS}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network."""

    name: str
    family: str
    batch_norm_eps: float | None = number(0, above=True)  # null: the model's own, 1e-5 as a rule
    options: Any = field()  # the family's own keys


@dataclass(frozen=True, kw_only=True)
class DatasetConfig:
    """Which data, and how training batches are augmented."""

    name: str
    content_hash: str | None = field()  # derived: of data of the user's own; what the id knows of them
    options: Any = field()  # the data set's own keys


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class SparsityConfig:
    """How much is pruned, and how it is spread over the layers."""

    target: Any = field()  # a number in [0, 1) or N:M
    distribution: str = one_of("global", "uniform", "erk")
    min_layer_density: float = number(0, 1)
    block: list[int] | None = field()  # [outputs, inputs] of blocks removed as a whole
    indivisible: str = one_of("skip", "error", "flatten")
    rules: Any = field()  # {word, kind or name pattern: target}; resolved to pairs, because the last match wins

    def targets(self) -> list[Any]:
        """Return the target and those of all rules."""
        return [self.target, *(own for _, own in self.rules or [])]

    def has_pattern(self) -> bool:
        """Return True if any target is N:M."""
        return any(isinstance(target, str) for target in self.targets())


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Which sparse method."""

    name: str
    options: Any = field()  # the method's own keys

    @property
    def facts(self) -> MethodFacts:
        """What is special about the method."""
        facts: MethodFacts = METHODS.part(self.name, "method.name").facts
        return facts


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learned."""

    name: str
    options: Any = field()  # the task's own keys


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class LrScheduleConfig:
    """How the learning rate moves below its peak, ``optimizer.lr``."""

    shape: str = one_of("cosine", "linear", "step", "constant")
    unit: str = one_of("step", "epoch")  # how often the rate changes
    warmup_epochs: float = number(0)
    milestones: list[float] | None = field()  # epochs, for shape=step
    gamma: float | None = number(0, 1, above=True)  # factor at each milestone
    stretch: bool | None = field()  # warm-up and milestones grow with a run that is longer than the schedule


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Number formats and memory layout of a training step."""

    dtype: str = one_of("auto", "fp32", "bf16", "fp16", "fp64")
    channels_last: bool = field()
    compile: bool | None = field()  # torch.compile; null: on CUDA, not on a CPU


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """Who watches."""

    name: str = one_of("wandb", "none")
    mode: str | None = one_of("auto", "online", "offline")
    project: str | None = field()
    entity: str | None = field()


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the run is called, whether it starts over, what it reports. Never part of its id."""

    name: str | None = field()
    experiment: str | None = field()
    overwrite: bool = field()
    starved_below: int = number(0)  # weights; a layer left with fewer is reported when a sparse phase begins


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When a run saves its position. Never part of its id: nothing that it computes depends on it."""

    every_minutes: float | None = number(0)  # inside an epoch; at its end it always does; null: only there


@dataclass(frozen=True, kw_only=True)
class ComposedConfig:
    """Everything that a run is decided by, as it was typed. What the YAML leaves open is still open."""

    model: ModelConfig
    dataset: DatasetConfig
    schedule: ScheduleConfig
    sparsity: SparsityConfig
    method: MethodConfig
    task: TaskConfig
    plugins: list[str] | None = field()  # modules and files that register parts; never part of the id
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


@dataclass(frozen=True, kw_only=True)
class Config(ComposedConfig):
    """A complete config: the schedule and the sparsity are final, and every key has been checked."""

    epochs: int


@dataclass(frozen=True, kw_only=True)
class SettledConfig(Config):
    """The config of a run on this machine: device, precision, loader, threads and workers are what they will be."""

    threads: int
    workers: int


C = TypeVar("C", bound=ComposedConfig)


def narrowed(kind: type[C], config: ComposedConfig, **changes: Any) -> C:
    """Return a config as one of a type that knows more.

    Args:
        kind: the type.
        config: what the values are taken from.
        changes: values of the keys that the type knows, and of any others that change.
    """
    values = {entry.name: getattr(config, entry.name) for entry in fields(ComposedConfig)}
    return kind(**values | changes)


def with_values(config: C, values: Mapping[str, Any]) -> C:
    """Return a copy of a config in which dotted keys, such as ``run.name``, have other values."""
    for key, value in values.items():
        group, _, leaf = key.partition(".")
        own = replace(getattr(config, group), **{leaf: value}) if leaf else value
        config = replace(config, **{group: own})
    return config


def is_pruned_to_target(config: Config) -> bool:
    """Return True if the run reads ``sparsity``. A dense run does not, nor one with the masks of its first weights."""
    return config.method.facts.makes_sparse_model and config.masks != "from_weights"


def prunes_a_dense_run(config: Config) -> bool:
    """Return True if the method goes on from a trained dense network, made first where there is no ``start_from``."""
    return config.method.facts.prunes_trained or config.dense_run is not None


def register_schema() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml refers to."""
    ConfigStore.instance().store(name="schema", node=OPEN_SCHEMA)


@cache
def schema_keys() -> dict[str, Any]:
    """Map each dotted key that holds a value to its dataclass field, without those of the parts' options."""
    return _keys_of(ComposedConfig)


def _keys_of(node: Any, prefix: str = "") -> dict[str, Any]:
    keys: dict[str, Any] = {}
    types = get_type_hints(node)
    for entry in fields(node):
        if entry.name == "options":
            continue
        if is_dataclass(types[entry.name]):
            keys |= _keys_of(types[entry.name], f"{prefix}{entry.name}.")
        else:
            keys[prefix + entry.name] = entry
    return keys


def part_keys(group: str) -> dict[str, Any]:
    """Map each dotted key of a group's parts to a dataclass field: those of the built-in and of the registered ones."""
    registry = PART_REGISTRIES[group]
    return {
        f"{group}.{entry.name}": entry for name in registry.names() for entry in fields(registry.part(name).options)
    }


def all_keys() -> dict[str, Any]:
    """Map each dotted key that a config can have to its dataclass field."""
    return schema_keys() | {key: entry for group in PART_GROUPS for key, entry in part_keys(group).items()}


def plain(node: Any) -> dict[str, Any]:
    """Return a config, or a group of it, as nested dictionaries. A part's own keys stand beside its name.

    The task is null where it is the one that the data set is for, as if it had not been asked for.
    """
    content = dict[str, Any]()
    for entry in fields(node):
        value = getattr(node, entry.name)
        if entry.name == "options":
            content |= plain(value)
        else:
            content[entry.name] = plain(value) if is_dataclass(value) else value
    if isinstance(node, ComposedConfig) and content["task"] == {"name": DATASETS.part(node.dataset.name).facts.task}:
        content["task"] = None
    return content


class Open:
    """Where the classes that Hydra composes by can be imported from, as the processes of a launcher do."""


def _open(schema: type) -> type:
    """Return a class of the same keys, with any keys in the groups of parts, which Hydra composes before one is chosen.

    It is not frozen: in a config that OmegaConf makes of a frozen class nothing can be set.
    """
    types, entries = get_type_hints(schema), list[tuple[str, Any, Any]]()
    for entry in fields(schema):
        hint = Any if entry.name in PART_GROUPS else types[entry.name]
        entries.append((entry.name, _open(hint) if is_dataclass(hint) else hint, field(metadata=entry.metadata)))
    place = {"__module__": __name__, "__qualname__": f"{Open.__name__}.{schema.__name__}"}
    made = make_dataclass(schema.__name__, entries, kw_only=True, namespace=place)
    setattr(Open, schema.__name__, made)
    return made


OPEN_SCHEMA = _open(ComposedConfig)
