"""execute.run on a real `process` worker: how an action ends, and what is written for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import ClassVar

import pytest

import tests.integration.processes as real
from actions.model import Action, ActionContext, Outcome
from actions.restart_child import RestartChild
from actions.stop import Stop
from supervisor import execute
from supervisor.leases import Grant, Leases
from supervisor.model import BY_HAND, Lease
from supervisor.targets import folder_of
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, worker
from workers.drivers.process import look


class SoftTimeout(BaseException):
    """What the pool raises in an action whose time is up; like Celery's it may come at any line."""


class Overtime(Action, frozen=True):
    """Takes longer than it has."""

    name: ClassVar[str] = "overtime"
    timeout: ClassVar[float] = 12.5

    def execute(self, context: ActionContext) -> str:
        raise SoftTimeout


class Broken(Action, frozen=True):
    """Has a bug."""

    name: ClassVar[str] = "broken"

    def execute(self, context: ActionContext) -> str:
        raise ZeroDivisionError("division by zero")


@pytest.fixture
def site(plant: Plant) -> Iterator[Plant]:
    """Return a plant whose flow-1 is a real process; leaves none behind."""
    plant.apply_fleet(worker("flow-1", command=["sh", "-c", "exec sleep 300"]))
    plant.runtime.actions.register(Overtime)
    plant.runtime.actions.register(Broken)
    yield plant
    yard = real.Yard(plant.runtime.settings.data_dir)
    yard.folders = {folder_of(plant.runtime.settings.data_dir, NAME, NODE, "flow-1")}
    yard.clear()


def run(plant: Plant, grant: Grant, **params: object) -> Outcome:
    return execute.run(plant.runtime, grant, params, execute.Pool("edge-1@h1", "r1", SoftTimeout, nullcontext))


def ended(plant: Plant) -> tuple[str, str, str]:
    lease = plant.lease()
    assert isinstance(lease, Lease)
    return lease.stage.value, lease.outcome, lease.detail


def completed(plant: Plant) -> dict[str, str]:
    """Return the outcomes counted, by the labels after the worker's."""
    prefix = "supervisor_actions_completed_total|flow-1|"
    return {name.removeprefix(prefix): value for name, value in plant.counters().items() if name.startswith(prefix)}


def pid_of(plant: Plant) -> int | None:
    return look(folder_of(plant.runtime.settings.data_dir, NAME, NODE, "flow-1")).pid


def test_an_action_that_succeeds_has_its_effect_and_says_so(site: Plant) -> None:
    assert run(site, site.claim()) is Outcome.SUCCESS
    pid = pid_of(site)
    assert pid is not None
    assert ended(site) == ("free", "success", f"started as pid {pid}")
    assert completed(site) == {"start|success": "1"}
    lease = site.lease()
    assert lease is not None
    assert lease.executor == "edge-1@h1"
    assert [event["event"] for event in site.events()] == ["action.claimed", "action.begun", "action.ended"]
    assert run(site, site.claim(action=Stop(), action_id="a2")) is Outcome.SUCCESS
    assert (pid_of(site), ended(site)) == (None, ("free", "success", f"stopped pid {pid}"))


def test_an_action_that_cannot_be_done_is_an_error_with_its_reason(site: Plant) -> None:
    site.apply_fleet(worker("flow-1", command=["no-such-command"]))
    assert run(site, site.claim()) is Outcome.ERROR
    stage, outcome, detail = ended(site)
    assert (stage, outcome) == ("free", "error")
    assert "no-such-command" in detail
    assert completed(site) == {"start|error": "1"}
    assert pid_of(site) is None


def test_an_action_with_a_bug_is_an_error_that_names_it_and_frees_the_lease(site: Plant) -> None:
    assert run(site, site.claim(action=Broken())) is Outcome.ERROR
    assert ended(site) == ("free", "error", "ZeroDivisionError: division by zero")


def test_an_action_whose_time_is_up_ends_as_a_timeout(site: Plant) -> None:
    assert run(site, site.claim(action=Overtime())) is Outcome.TIMEOUT
    assert ended(site) == ("free", "timeout", "did not end within 12.5s")
    assert completed(site) == {"overtime|timeout": "1"}


@pytest.mark.parametrize(
    ("change", "why"), [({"token": "1"}, "other_token"), ({"worker_id": "flow-9"}, "no_lease")], ids=["token", "worker"]
)
def test_a_message_without_a_valid_lease_is_discarded_without_effect(
    site: Plant, change: dict[str, str], why: str
) -> None:
    grant = site.claim()
    lease = site.lease()
    assert run(site, Grant(**{**vars(grant), **change})) is Outcome.DISCARDED
    assert pid_of(site) is None
    assert site.lease() == lease
    assert site.counters()[f"supervisor_actions_discarded_total|{why}"] == "1"


def test_a_doubled_message_has_its_effect_once(site: Plant) -> None:
    grant = site.claim()
    assert run(site, grant) is Outcome.SUCCESS
    pid = pid_of(site)
    assert run(site, grant) is Outcome.DISCARDED
    assert pid_of(site) == pid
    assert completed(site) == {"start|success": "1"}
    assert site.counters()["supervisor_actions_discarded_total|ended"] == "1"


def test_a_late_message_is_discarded_without_effect(site: Plant) -> None:
    grant = site.claim()
    site.clock.advance(31)
    assert run(site, grant) is Outcome.DISCARDED
    assert pid_of(site) is None


def test_an_effect_under_a_token_that_the_process_has_outgrown_is_fenced(site: Plant) -> None:
    grant = site.claim()
    newer = int(grant.token) + 1
    folder = folder_of(site.runtime.settings.data_dir, NAME, NODE, "flow-1")
    yard = real.Yard(folder.parent)
    component = yard.make("sleep", "300", name=folder.name)
    component.stop(newer)
    assert run(site, grant) is Outcome.DISCARDED
    assert ended(site) == (
        "free",
        "discarded",
        f"token {grant.token} is older than {newer}, which flow-1 has accepted already",
    )
    assert pid_of(site) is None
    lease = site.lease()
    assert lease is not None
    assert lease.failures == 0


def test_a_worker_that_is_gone_and_an_unknown_action_and_bad_parameters_are_errors(site: Plant) -> None:
    grant = site.claim()
    site.client.delete(site.keys.identity(NODE, "flow-1"))
    assert run(site, grant) is Outcome.ERROR
    assert ended(site)[2] == "worker flow-1 is not in the fleet any more"
    grant = site.claim(action_id="a2")
    assert run(site, Grant(**{**vars(grant), "action": "dance"})) is Outcome.ERROR
    assert ended(site)[2].startswith("unknown action 'dance': expected one of broken, create_topics, noop")
    grant = site.claim(action_id="a3")
    assert run(site, grant, tempo="fast") is Outcome.ERROR
    assert ended(site)[2].startswith("action 'start' refuses its parameters {'tempo': 'fast'}")


def test_a_configuration_that_does_not_fit_its_type_is_an_error(site: Plant) -> None:
    site.apply_fleet(worker("flow-1", stop_signal="DANCE"))
    assert run(site, site.claim()) is Outcome.ERROR
    assert "does not fit type process: Invalid enum value 'DANCE'" in ended(site)[2]


def test_a_child_without_a_command_is_a_persons_work(site: Plant) -> None:
    site.apply_fleet(worker("flow-1"), children=[make_child(process=None)])
    grant = site.claim("child/broker", action=RestartChild(child_name="broker"))
    assert run(site, grant, child_name="broker") is Outcome.ERROR
    lease = site.lease("child/broker")
    assert lease is not None
    assert lease.detail == f"child broker {BY_HAND}"


def test_an_action_whose_time_is_up_before_it_began_frees_its_claim(
    site: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = site.claim()

    def begin(*_: object) -> str:
        raise SoftTimeout

    monkeypatch.setattr(Leases, "begin", begin)
    assert run(site, grant) is Outcome.DISCARDED
    assert ended(site) == ("free", "cancelled", "its time was up before it began")


def test_a_fence_that_redis_has_forgotten_is_known_to_it_after_the_refusal(site: Plant) -> None:
    folder = folder_of(site.runtime.settings.data_dir, NAME, NODE, "flow-1")
    folder.mkdir(parents=True)
    grant = site.claim()
    forgotten = int(grant.token) + 10**9
    (folder / "token").write_text(str(forgotten))
    assert run(site, grant) is Outcome.DISCARDED
    site.clock.advance(1)
    again = site.claim(action_id="a2")
    assert int(again.token) == forgotten + 1
    assert run(site, again) is Outcome.SUCCESS
