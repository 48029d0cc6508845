"""Whom a tick keeps that has to look at a large fleet: it looks at some after the other and lets go who is settled."""

from __future__ import annotations

from supervisor.plan import is_as_desired, make_plan
from supervisor.runtime import Runtime
from supervisor.scope import Facts, Items, unsettled
from supervisor.view import World, with_workers

MOST = 20_000  # workers that are looked at at once, some 3 kB each
PART = 5_000  # workers of a larger fleet that are looked at at once


def sifted(runtime: Runtime, supervisor: str, world: World, found: Facts, items: Items) -> Items:
    """Return the workers of a look that are not settled; of a look at few, all. `world` is without workers.

    Nothing is planned for who is settled: that holds for a tick that leaves them out (decision 0007), and for this one.
    """
    if len(items) <= MOST:
        return items
    kept: set[str] = set()
    for first in range(0, len(items), PART):
        part = items[first : first + PART]
        view = with_workers(runtime, supervisor, world, part).view
        subjects = view.subjects[: len(part)]  # without those that they depend on, which are of other parts
        mismatches = [subject.id for subject in subjects if not is_as_desired(subject)]
        kept.update(unsettled(found, subjects, make_plan(view, world.now), mismatches, world.now))
    return [(item, place) for item, place in items if item in kept]
