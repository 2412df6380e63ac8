"""From the schedule's keys to a timeline: four numbers, phases listed in full, or boundaries that stretch."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from acdc_cli.config.schema import ComposedConfig, Config, narrowed
from acdc_cli.errors import BadInput
from acdc_cli.options import optional
from acdc_cli.sparsity.timeline import Timeline, TimelineError, default_phase_epochs, nearest_stretched_epochs

PHASE_NUMBERS = ("warmup_epochs", "sparse_epochs", "dense_epochs", "final_sparse_epochs")
PHASES_EXAMPLE = "[[dense,0,10],[sparse,10,20]]"
BOUNDARIES_EXAMPLE = "[0.1,0.5,0.7]"


def timeline_of(config: Config) -> Timeline:
    """The timeline of a complete config. A sparse epoch is one that ends with the sparsity that was asked for."""
    if not config.method.facts.follows_schedule:
        phases = optional(config.method.options, "phases", config.epochs)
        return Timeline.of(phases or [("sparse", 0, config.epochs)])
    if config.schedule.phases is not None:
        return Timeline.of(config.schedule.phases)
    return Timeline.acdc(config.epochs, **{name: getattr(config.schedule, name) for name in PHASE_NUMBERS})


def resolve_schedule(composed: ComposedConfig) -> Config:
    """Fill in ``epochs`` and either the four numbers or the phases; leave only what the method reads.

    ``published`` and ``boundaries`` are ways to say these, and null afterwards: a run's id knows the outcome alone.

    Raises:
        BadInput: if the schedule's keys contradict each other or make no schedule.
    """
    schedule = composed.schedule
    numbers = {name: getattr(schedule, name) for name in PHASE_NUMBERS}
    epochs, phases = composed.epochs or schedule.epochs, None
    if not composed.method.facts.follows_schedule:
        numbers = dict.fromkeys(PHASE_NUMBERS)
    elif schedule.phases is not None:
        _refuse_beside("phases", numbers, schedule.boundaries)
        timeline = _listed_phases(schedule.phases, composed.epochs)
        epochs, phases = timeline.total_epochs, _as_lists(timeline)
    elif schedule.boundaries is not None:
        _refuse_beside("boundaries", numbers)
        phases = _as_lists(_stretched_phases(schedule.boundaries, epochs))
    else:
        published = schedule.published if epochs == schedule.epochs else None
        fill = published or default_phase_epochs(epochs)
        numbers = {name: fill[name] if value is None else value for name, value in numbers.items()}
        _check_phase_numbers(epochs, numbers)
    own = replace(schedule, published=None, boundaries=None, phases=phases, **numbers)
    return narrowed(Config, composed, schedule=own, epochs=epochs)


def _refuse_beside(decided_by: str, numbers: dict[str, int | None], boundaries: list[float] | None = None) -> None:
    """One key decides every phase: a second one would be ignored, so it is refused."""
    others: dict[str, Any] = {**numbers, "boundaries": boundaries}
    for name, value in others.items():
        if value is not None:
            raise BadInput(
                f"schedule.{name}={_compact(value)}: schedule.{decided_by} already decides every phase; "
                f"use schedule.{name}=null, or another schedule"
            )


def _listed_phases(phases: Any, epochs: int | None) -> Timeline:
    """Return the timeline of phases that are listed in full. Raises BadInput if they are not ``epochs`` epochs."""
    try:
        timeline = Timeline.of(phases)
        timeline.require_acdc()
    except TimelineError as error:
        raise BadInput(f"schedule.phases={_compact(phases)}: {error}") from None
    except (TypeError, ValueError):
        raise BadInput(
            f"schedule.phases={_compact(phases)}: not a list of [kind, start_epoch, end_epoch], "
            f"such as {PHASES_EXAMPLE}"
        ) from None
    if epochs not in (None, timeline.total_epochs):
        raise BadInput(
            f"epochs={epochs}: a schedule listed in full cannot be rescaled; "
            f"use epochs={timeline.total_epochs} or change schedule.phases"
        )
    return timeline


def _stretched_phases(boundaries: list[float], epochs: int) -> Timeline:
    """Return the timeline whose phases change at fractions of the run."""
    key = f"schedule.boundaries={_compact(boundaries)}"
    inside = sorted({fraction for fraction in boundaries if 0 < fraction < 1})
    if boundaries != inside:
        nearest = _compact(inside) if inside else BOUNDARIES_EXAMPLE
        raise BadInput(f"{key}: not rising fractions between 0 and 1; nearest: {nearest}")
    if len(boundaries) % 2 == 0:  # dense first, and the kind changes at each: an odd number ends sparse
        nearest = _compact(boundaries[:-1]) if boundaries else BOUNDARIES_EXAMPLE
        raise BadInput(f"{key}: an AC/DC run must end with a sparse phase; nearest: {nearest}")
    try:
        return Timeline.stretched(epochs, boundaries)
    except TimelineError as error:
        fitting = nearest_stretched_epochs(epochs, boundaries)
        raise BadInput(f"epochs={epochs} {key}: {error}; nearest: epochs={fitting}") from None


def _as_lists(timeline: Timeline) -> list[list[Any]]:
    return [[phase.kind, phase.start_epoch, phase.end_epoch] for phase in timeline.phases]


def _compact(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    return re.sub(r"[\s']", "", str(value))


def _check_phase_numbers(epochs: int, numbers: dict[str, int]) -> None:
    if epochs < 2:
        raise BadInput(f"epochs={epochs}: AC/DC needs a dense and a sparse epoch; nearest: epochs=2")
    try:
        Timeline.acdc(epochs, **numbers)
    except TimelineError as error:
        shown = " ".join(f"schedule.{name}={value}" for name, value in numbers.items())
        raise BadInput(f"epochs={epochs} {shown}: {error}; nearest: epochs={_epochs_that_fit(numbers)}") from None


def _epochs_that_fit(numbers: dict[str, int]) -> int:
    """The shortest run that these numbers make a valid schedule of."""
    pairs = 0 if numbers["warmup_epochs"] else numbers["sparse_epochs"] + numbers["dense_epochs"]
    return numbers["warmup_epochs"] + pairs + numbers["final_sparse_epochs"]
