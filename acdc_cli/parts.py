"""The kinds of part that a run is made of, and what can be declared about a part of each kind.

``register_model``, ``register_dataset``, ``register_method`` and ``register_task`` are the public decorators. Each
takes the part's name first and decorates a dataclass: its fields are the part's keys, its methods what the part does.
"""

from __future__ import annotations

from dataclasses import dataclass

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
TASKS = Registry("task", "acdc_cli.tasks", ("loss",), TaskFacts)

register_model, register_dataset = MODELS.register, DATASETS.register
register_method, register_task = METHODS.register, TASKS.register
