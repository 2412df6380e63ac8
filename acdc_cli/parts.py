"""The kinds of part that a run is made of, and what can be declared about a part of each kind.

``register_model``, ``register_dataset``, ``register_method`` and ``register_task`` are the public decorators. Each
takes the part's name first and decorates a dataclass: its fields are the part's keys, its methods what the part does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from acdc_cli.registry import Registry


@dataclass(frozen=True)
class MethodFacts:
    """What is special about a sparse method.

    Attributes:
        makes_sparse_model: the run leaves a sparse model. Only ``dense`` does not.
        makes_dense_model: the run leaves a dense model that trained as one, so that another method can prune it.
        follows_schedule: the keys of ``schedule`` decide its phases.
        prunes_trained: it prunes a trained dense network, which is made first where there is no ``start_from``.
        may_prune_trained: it does so where ``dense_run`` or ``start_from`` says so.
        decided_by: the key of ``method`` that decides how sparse a run ends, where ``sparsity.target`` is a wish.
        takes_patterns: it takes N:M targets.
        takes_blocks: it takes ``sparsity.block``.
        within_layers: it moves connections within each layer, so that every layer needs a target of its own.
        may_empty_layers: it goes on if a layer is left without a weight, and names that layer.
        takes_zero_target: a target of 0 is allowed.
        takes_passes: it takes forward and backward passes of its own between two steps.
        memory_advice: what a user can do where those passes, or a pruning, do not fit into memory.
    """

    makes_sparse_model: bool = True
    makes_dense_model: bool = False
    follows_schedule: bool = False
    prunes_trained: bool = False
    may_prune_trained: bool = False
    decided_by: str | None = None
    takes_patterns: bool = True
    takes_blocks: bool = True
    within_layers: bool = False
    may_empty_layers: bool = False
    takes_zero_target: bool = False
    takes_passes: bool = False
    memory_advice: str = "smaller passes"


@dataclass(frozen=True)
class ModelFacts:
    """What is special about a family of models.

    Attributes:
        is_library: ``model.name`` chooses one of its networks, and is not just what the run is called.
    """

    is_library: bool = False


@dataclass(frozen=True)
class DatasetFacts:
    """What is special about a data set.

    Attributes:
        summary: one line for ``acdc-data list``.
        task: the task that learns it.
        is_embedded: it needs no folder and no file; ``acdc-train`` prepares it on first use.
        content_keys: its keys that decide what the samples are; dataset.json records them. With ``source`` among them
            it is data of the user's own: the hash of the content enters a run's id, and these keys do not.
    """

    summary: str = ""
    task: str = "image_classification"
    is_embedded: bool = False
    content_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskFacts:
    """Nothing is special about a task so far."""


MODELS = Registry("model", "acdc_cli.models.families", ("build",), ModelFacts)
DATASETS = Registry("dataset", "acdc_cli.data.sets", ("origin",), DatasetFacts)
DENSE, FIXED_MASKS = "dense", "static"  # the methods of finetune=dense and of masks=from_weights
METHODS = Registry("method", "acdc_cli.methods", ("build", "expected"), MethodFacts)
TASKS = Registry("task", "acdc_cli.tasks", ("loss", "evaluate|scores"), TaskFacts, "acdc_cli.tasks._defaults")

T = TypeVar("T", bound=type)


def register_model(name: str, **facts: Any) -> Callable[[T], T]:
    """Return a decorator that registers a dataclass as a model.

    Its fields are the model's keys in a config (see ``number`` and ``one_of``). ``build(self, inputs)`` returns a
    ``torch.nn.Module``; what ``inputs`` is, the task says: for images their ``channels``, ``height``, ``width`` and
    ``classes``. ``check(self)`` may raise BadInput. ``acdc_cli.models.families`` has more.

    Args:
        name: what ``model.family``, or ``model.name``, calls it.
        facts: fields of ``ModelFacts``.
    """
    return MODELS.register(name, **facts)


def register_dataset(name: str, **facts: Any) -> Callable[[T], T]:
    """Return a decorator that registers a dataclass as a data set.

    Its fields are the data set's keys in a config. ``origin(self)`` returns an ``acdc_cli.data.source.Source``: where
    the samples come from. ``check(self)`` may raise BadInput. ``acdc_cli.data.sets`` has more.

    Args:
        name: what ``dataset`` calls it.
        facts: fields of ``DatasetFacts``; ``task`` names the task that learns it.
    """
    return DATASETS.register(name, **facts)


def register_method(name: str, **facts: Any) -> Callable[[T], T]:
    """Return a decorator that registers a dataclass as a sparse method.

    Its fields are the method's keys in a config. ``build(self, setting)`` returns an ``acdc_cli.sparsity.Method``, and
    ``expected(self, setting, epoch, sparse)`` what a step is expected to cost. ``acdc_cli.methods`` has more.

    Args:
        name: what ``method`` calls it.
        facts: fields of ``MethodFacts``.
    """
    return METHODS.register(name, **facts)


def register_task(name: str, **facts: Any) -> Callable[[T], T]:
    """Return a decorator that registers a dataclass as a task.

    Its fields are the task's keys in a config. ``headline`` is its metric, ``loss(self, config, outputs, targets)``
    what training minimises, and ``scores(self, outputs, targets)`` what an evaluation takes means of. Everything else
    has a default, for data that are arrays. ``acdc_cli.tasks`` has more.

    Args:
        name: what ``task`` calls it.
        facts: fields of ``TaskFacts``.
    """
    return TASKS.register(name, **facts)
