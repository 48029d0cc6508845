"""The contract of the drivers: each is a small file, and all of them pass these cases.

`HookComponent` is none of them: it knows a restart alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.model import ActionContext, ActionError, Fenced, Incarnation
from actions.restart import Restart
from tests.factories import NOW
from tests.integration.drivers import RIGS, Rig
from workers.model import Observed


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return each driver in turn with a thing that is down."""
    root = tmp_path / "rig"
    root.mkdir()
    with RIGS[request.param](root) as made:
        yield made


def running(rig: Rig) -> Incarnation:
    seen = rig.component.current()
    assert seen is not None
    return seen


def test_what_is_down_is_started_and_known_by_its_incarnation(rig: Rig) -> None:
    assert rig.component.current() is None
    started = rig.component.start(1)
    assert running(rig) == started
    assert started.config_id == rig.component.config_id
    assert rig.lives is not None or (started.pid > 0 and started.start_ticks > 0)


def test_a_second_start_leaves_what_runs_alone(rig: Rig) -> None:
    first = rig.component.start(1)
    assert rig.component.start(1) == rig.component.start(2) == first
    assert rig.lives is None or rig.lives() == 1


def test_what_runs_is_stopped_and_a_second_stop_changes_nothing(rig: Rig) -> None:
    rig.component.start(1)
    rig.component.stop(2)
    assert rig.component.current() is None
    rig.component.stop(2)
    rig.component.stop(3)
    assert rig.component.current() is None


def test_what_is_down_can_be_stopped(rig: Rig) -> None:
    rig.component.stop(1)
    assert rig.component.current() is None


def test_a_restart_brings_a_new_incarnation(rig: Rig) -> None:
    before = rig.component.start(1)
    action = Restart(failed_pid=before.pid, failed_start_ticks=before.start_ticks)
    action.execute(ActionContext(rig.component, 2))
    after = running(rig)
    if rig.lives is not None:
        assert rig.lives() == 2
        return
    assert (after.pid, after.start_ticks) != (before.pid, before.start_ticks)
    assert action.execute(ActionContext(rig.component, 2)) == f"already runs anew as {after.name}"


def test_an_older_token_is_refused_at_the_effect(rig: Rig) -> None:
    started = rig.component.start(9)
    for late in (rig.component.start, rig.component.stop):
        with pytest.raises(Fenced, match="token 8 is older than 9") as refused:
            late(8)
        assert refused.value.newest == 9
    assert running(rig) == started
    rig.component.stop(10)
    with pytest.raises(Fenced, match="token 9 is older than 10"):
        rig.component.start(9)
    assert rig.component.current() is None


def test_what_is_killed_from_outside_is_down_and_starts_as_another(rig: Rig) -> None:
    before = rig.component.start(1)
    rig.kill()
    assert rig.component.current() is None
    after = rig.component.start(2)
    assert running(rig) == after
    assert rig.lives is not None or after != before


def test_an_end_from_outside_is_observed_with_how_it_ended(rig: Rig) -> None:
    if rig.observe is None or rig.target is None:
        return  # for children alone: their checks tell
    rig.component.start(1)
    up = observed(rig, None, NOW)
    assert (up.last_exit, up.error, up.config_id) == (None, None, "c1")
    assert up.started_at is not None
    rig.kill()
    down = observed(rig, up, NOW + 5)
    assert (down.pid, down.started_at, down.error) == (None, None, None)
    assert down.last_exit is not None
    assert re.search(rig.end, down.last_exit.words())
    assert down.last_exit.requested is False
    assert observed(rig, down, NOW + 10).last_exit.id == down.last_exit.id  # type: ignore[union-attr]  # as before


def test_an_end_that_was_asked_for_is_observed_as_such(rig: Rig) -> None:
    if rig.observe is None or rig.lives is not None:
        return  # nobody tells who ended it
    rig.component.start(1)
    up = observed(rig, None, NOW)
    rig.component.stop(2)
    down = observed(rig, up, NOW + 5)
    assert (down.pid, down.error) == (None, None)
    assert down.last_exit is not None
    assert down.last_exit.requested is True


def test_what_there_is_not_is_an_error_that_names_it(rig: Rig) -> None:
    with pytest.raises(ActionError, match=rig.complaint):
        rig.broken.start(1)


def observed(rig: Rig, previous: Observed | None, at: float) -> Observed:
    assert rig.observe is not None
    assert rig.target is not None
    seen = asyncio.run(rig.observe(rig.target, previous, at))  # type: ignore[arg-type]  # a coroutine
    assert isinstance(seen, Observed)
    return seen
