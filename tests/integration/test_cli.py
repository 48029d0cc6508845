"""What fsmctl prints of a store: whole texts in 80 columns without colour, and its exit codes."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from click.testing import CliRunner, Result

from actions.model import Outcome
from actions.restart_child import RestartChild
from actions.stop import Stop
from supervisor.cli import fsmctl
from supervisor.clock import SystemClock
from supervisor.errors import NotFound, Refused, StoreUnreachable, TimedOut
from supervisor.fleetfile import FleetError
from supervisor.leases import Grant, Leases
from supervisor.model import Check, Incident
from supervisor.runtime import make_runtime
from supervisor.store import Store, encode
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import Plant, grant_of, put, settings, worker
from workers.model import Status
from workers.process.config import ProcessConfig

Run = Callable[..., Result]


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation on real Redis time: flow-1 runs, flow-2 waits for its first look, the broker is well."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), worker("flow-2", "stopped"), children=[make_child()])
    made.heartbeat()
    made.observe({"flow-1": made.up(), "child/broker": made.child_up()})
    return made


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Run:
    """Return what runs fsmctl against that store; the error it ended with is the result's exception."""
    environ = {
        "FSM_REDIS_URL": redis_server.url,
        "FSM_NAMESPACE": "test",
        "FSM_DATA_DIR": str(tmp_path),
        "COLUMNS": "80",
    }

    def call(*arguments: str) -> Result:
        return CliRunner(env=environ).invoke(fsmctl, list(arguments))

    return call


def young(text: str) -> str:
    """Return a text whose ages of seconds are 0: the machine may be slow."""
    return re.sub(r"\b\ds\b", "0s", text)


def test_get_workers_is_a_table_that_fits_80_columns(plant: Plant, run: Run) -> None:
    assert young(run("get", "workers").stdout) == (
        "ID      NODE    DESIRED  STATE    FOR  SEEN  ACTION\n"
        "flow-1  edge-1  running  stopped  0s   0s    -\n"
        "flow-2  edge-1  stopped  stopped  0s   -     -\n"
    )


def test_a_worker_that_moves_is_shown_as_moving_with_where_to(plant: Plant, run: Run, tmp_path: Path) -> None:
    plant.store.know_node("edge-2")
    file = tmp_path / "fleet.toml"
    file.write_text(
        """
        supervisor = { name = "plant-1", nodes = ["edge-1", "edge-2"] }
        workers = [
            { id = "flow-1", type = "process", node = "edge-2", config = { command = ["sleep", "300"] } },
            { id = "flow-2", type = "process", node = "edge-1", config = { command = ["sleep", "300"] } },
        ]
        """
    )
    assert run("apply", "-f", str(file), "--yes").stdout == (
        "changed    flow-2\nmoving     flow-1\nremoved    child/broker\n"
    )
    assert young(run("get", "workers").stdout).splitlines()[1] == "flow-1  edge-1  running  stopped  0s   0s    moving"
    heading, shown, _ = run("get", "workers", "-o", "wide").stdout.splitlines()
    assert shown[heading.index("MOVES_TO") :].split()[0] == "edge-2"
    assert [row["moves_to"] for row in rows_of(run)] == ["edge-2", None]
    lines = run("describe", "worker", "flow-1").stdout.splitlines()
    assert lines[0] == "Worker       flow-1, process on edge-1 of plant-1, moves to edge-2"
    assert "Reason       desired is stopped (it moves to edge-2) and pid 42 runs" in lines


def test_an_instance_of_a_template_is_applied_compared_and_chosen_by_its_label(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    text = """
        supervisor = { name = "bridges", nodes = ["edge-1"] }
        instances = [
            { name = "oven", template = "bridge", node = "edge-1" },
            { name = "press", template = "bridge", node = "edge-1", variables = { rate = "5" } },
        ]
        [[templates]]
        name = "bridge"
        variables = { rate = "300" }
        workers = [
            { id = "${name}-connection", type = "process", node = "${node}", config = { command = ["sleep", "300"] } },
            { id = "${name}-read", type = "process", node = "${node}", depends_on = ["${name}-connection"],
              config = { command = ["sleep", "${rate}"] } },
        ]
        """
    file.write_text(text.replace("\n              config", " config"))
    assert run("apply", "-f", str(file), "--yes").stdout == (
        "added      oven-connection, oven-read, press-connection, press-read\n"
    )
    chosen = run("--supervisor", "bridges", "get", "workers", "-l", "instance=press", "-o", "name").stdout
    assert chosen.split() == ["worker/press-connection", "worker/press-read"]
    file.write_text(file.read_text().replace('rate = "5"', 'rate = "6"'))
    compared = run("diff", "-f", str(file)).stdout
    assert "press-read" in compared
    assert not {"press-connection", "oven-read", "oven-connection"} & set(compared.split())
    file.write_text(file.read_text().replace("rate =", "rat ="))
    refused = run("apply", "-f", str(file))
    assert isinstance(refused.exception, FleetError)
    assert "key variables.rat: value '300': unknown variable; expected one of rate" in str(refused.exception)


def test_get_children_nodes_and_circuit(plant: Plant, run: Run) -> None:
    assert young(run("get", "children").stdout) == (
        "NAME    TYPE   NODE    VERDICT  SEEN  PID  DETAIL\n"
        "broker  redis  edge-1  ok       0s    99   pid 99 passes its check\n"
    )
    assert young(run("get", "nodes").stdout) == (
        "NAME    STATUS  HOST  SLOTS  BEAT  COLLECTOR  WATCHES  SKEW\n"
        "edge-1  ready   h1    5      0s    0s         2        -\n"
    )
    assert run("get", "circuit").stdout == (
        "SUPERVISOR  STATE   ATTEMPT  OPEN  REASON\nplant-1     closed  0        -     -\n"
    )


def test_get_workers_as_json_says_what_the_next_tick_will_do(plant: Plant, run: Run) -> None:
    flow = json.loads(run("get", "workers", "-o", "json").stdout)[0]
    age, since = flow.pop("observed_age_seconds"), flow.pop("since")
    assert (age < 5, since > 0) == (True, True)
    assert flow == {
        "id": "flow-1",
        "type": "process",
        "node": "edge-1",
        "group": None,
        "labels": {},
        "desired": "running",
        "state": "stopped",
        "phase": "stopped",
        "reason": "pid 42 runs",
        "pid": 42,
        "action": None,
        "next_state": "starting",
        "restarts": 0,
        "overridden": False,
        "removed": False,
        "moves_to": None,
        "conditions": [],
        "supervisor": "plant-1",
        "skip": None,
    }


def test_an_action_in_progress_is_shown_with_its_phase_and_the_last_one_with_its_outcome(
    plant: Plant, run: Run
) -> None:
    index = plant.store.index("plant-1")
    assert index is not None
    assert plant.store.begin_tick("plant-1", index, "t1")[0] == "started"
    (message,) = plant.write(plant.item("flow-1"), tick_id="t1").messages
    action = json.loads(run("get", "workers", "-o", "json").stdout)[0]["action"]
    assert (action["id"], action["name"], action["phase"], action["node"]) == ("a1", "start", "queued", "edge-1")
    assert run("get", "actions").stdout.splitlines()[1].split()[:3] == ["flow-1", "start", "queued"]

    assert plant.begin(grant_of(message)) is None
    assert plant.runtime.leases.end(grant_of(message), "r1", Outcome.SUCCESS, "started as pid 42")
    row = json.loads(run("get", "actions", "-o", "json").stdout)[0]
    assert (row["worker_id"], row["stage"], row["outcome"], row["detail"]) == (
        "flow-1",
        "free",
        "success",
        "started as pid 42",
    )


def rows_of(run: Run, kind: str = "workers") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("get", kind, "-o", "json").stdout)
    return found


def last_event(run: Run, worker_id: str) -> dict[str, str]:
    told: list[dict[str, str]] = json.loads(run("events", "--worker", worker_id, "-n", "1", "-o", "json").stdout)
    return told[0]


ME = f"{getpass.getuser()}@{socket.gethostname()}"


def test_a_paused_worker_is_left_alone_until_it_is_resumed_and_both_say_who_did_it(plant: Plant, run: Run) -> None:
    generation = plant.item("flow-1").claim
    result = run("pause", "worker/flow-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "worker/flow-1 is paused; `fsmctl resume flow-1` ends that\n"
    (flow, _) = rows_of(run)
    assert [(one["type"], one["reason"]) for one in flow["conditions"]] == [("paused", f"by {ME}")]
    assert flow["skip"] == {"reason": "paused", "detail": f"by {ME} 0s ago"}
    assert young(run("get", "workers").stdout).splitlines()[1] == "flow-1  edge-1  running  stopped  0s   0s    paused"
    told = last_event(run, "flow-1")
    assert (told["event"], told["by"]) == ("operator.pause", ME)
    assert "flow-1" in plant.client.smembers(plant.keys.wake("supervisor"))
    after = plant.item("flow-1").claim
    assert generation is not None
    assert after is not None
    assert after.generation == generation.generation + 1

    assert run("resume", "flow-1").stderr == "worker/flow-1 is resumed, its failures are forgiven\n"
    (flow, _) = rows_of(run)
    assert (flow["conditions"], flow["skip"]) == ([], None)
    told = last_event(run, "flow-1")
    assert (told["event"], told["by"]) == ("operator.resume", ME)


def claimed(plant: Plant, item: str = "flow-1", **changes: Any) -> Grant:
    index = plant.store.index("plant-1")
    assert index is not None
    assert plant.store.begin_tick("plant-1", index, "t1")[0] == "started"
    (message,) = plant.write(plant.item(item, **changes), tick_id="t1").messages
    return grant_of(message)


def test_a_queued_action_is_taken_back_by_cancel(plant: Plant, run: Run) -> None:
    claimed(plant)
    result = run("cancel", "flow-1")
    assert (result.exit_code, result.stderr) == (0, "start of flow-1, queued for 0s, is cancelled\n")
    lease = plant.lease()
    assert lease is not None
    assert (lease.outcome, lease.detail) == ("cancelled", f"cancelled by {ME}")
    told = last_event(run, "flow-1")
    assert (told["event"], told["outcome"], told["detail"]) == ("action.ended", "cancelled", f"cancelled by {ME}")


def test_a_running_action_is_asked_to_give_up_and_freed_by_force(plant: Plant, run: Run) -> None:
    grant = claimed(plant)
    assert plant.begin(grant) is None
    assert run("cancel", "flow-1").stderr == "start of flow-1, running for 0s, has been asked to give up\n"
    lease = plant.lease()
    assert lease is not None
    assert (lease.stage, lease.cancel) == ("running", f"cancelled by {ME}")
    assert last_event(run, "flow-1")["event"] == "action.cancel_asked"
    assert run("cancel", "flow-1", "--force", "--yes").stderr == "start of flow-1, running for 0s, is cancelled\n"
    lease = plant.lease()
    assert lease is not None
    assert (lease.stage, lease.outcome, lease.detail) == ("free", "cancelled", f"cancelled by {ME} (forced)")
    result = run("cancel", "flow-1")
    assert isinstance(result.exception, Refused)
    assert result.exception.exit_code == 7
    assert str(result.exception) == "flow-1 has no action in progress; the last was start: cancelled"


def test_the_restart_of_a_child_can_be_cancelled(plant: Plant, run: Run) -> None:
    claimed(plant, "child/broker", action=RestartChild(child_name="broker"))
    assert run("cancel", "child/broker").stderr == "restart_child of child/broker, queued for 0s, is cancelled\n"


def test_an_action_that_ends_while_it_is_being_cancelled_is_said_to_have_ended(
    plant: Plant, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(plant)
    monkeypatch.setattr(Leases, "cancel", lambda *_, **__: "nothing")
    result = run("cancel", "flow-1")
    assert isinstance(result.exception, Refused)
    assert "the start of flow-1 has just ended" in str(result.exception)


def test_a_quarantine_and_a_stuck_action_are_shown_where_people_look(plant: Plant, run: Run) -> None:
    now = plant.store.now()
    why = "failures: 5 in 31s, last: start: error (no such file)"
    ailing = Status(state="failed", since=now, quarantined_at=now - 5, quarantined_for=why, quarantines=1)
    put(plant, plant.keys.status("edge-1", "flow-1"), msgspec.structs.replace(ailing, quarantined_until=now + 595))
    grant = claimed(plant, "flow-2", action=Stop())
    assert plant.begin(grant) is None
    lease = plant.lease("flow-2")
    assert lease is not None
    long = msgspec.structs.replace(lease, begun_at=now - 104)
    put(plant, plant.keys.lease("edge-1", "flow-2"), long)
    put(plant, plant.keys.lease("edge-1", "child/broker"), msgspec.structs.replace(long, timeout=40.0))

    assert young(run("get", "workers").stdout) == (
        "ID      NODE    DESIRED  STATE    FOR  SEEN  ACTION\n"
        "flow-1  edge-1  running  failed   0s   0s    quarantined\n"
        "flow-2  edge-1  stopped  stopped  0s   -     stop, stuck\n"
    )
    wide = run("get", "workers", "-o", "wide").stdout.splitlines()
    assert ("CONDITION" in wide[0], " quarantined  " in wide[1], " stuck,unknown  " in wide[2]) == (True, True, True)
    first, second = rows_of(run)
    assert [one["type"] for one in first["conditions"]] == ["quarantined"]
    assert [one["type"] for one in second["conditions"]] == ["stuck", "unknown"]
    assert second["conditions"][0]["since"] == round(now - 44, 1)
    assert [one["type"] for one in rows_of(run, "children")[0]["conditions"]] == ["stuck"]
    text = run("describe", "worker", "flow-1").stdout
    assert re.search(rf"^Conditions   quarantined for \ds: {re.escape(why)}; ends in 9m\d\ds$", text, re.MULTILINE)
    text = run("describe", "worker", "flow-2").stdout
    assert re.search(
        r"^Conditions   stuck for 4\ds: stop has run for 1m4\ds on edge-1@h1, its timeout is 30s\n"
        r" {13}unknown for \ds: not observed yet$",
        text,
        re.MULTILINE,
    )


@pytest.mark.parametrize("form", ["text", "json", "yaml"])
def test_no_form_of_a_description_shows_secrets(plant: Plant, run: Run, form: str) -> None:
    config = {"command": ["flow", "--password=hunter2"], "env": {"DB_PASSWORD": "hunter2", "LEVEL": "low"}}
    process = ProcessConfig(**config)  # type: ignore[arg-type]  # a list for a tuple
    check = Check(kind="redis", address="redis://:hunter2@127.0.0.1:7390")
    plant.apply_fleet(worker("flow-1", **config), children=[make_child(process=process, check=check)])
    of_worker = run("describe", "worker/flow-1", "-o", form).stdout
    of_child = run("describe", "child/broker", "-o", form).stdout
    assert "hunter2" not in of_worker + of_child
    assert all("--password=***" in text for text in (of_worker, of_child))
    assert "low" in of_worker
    if form == "json":
        assert json.loads(of_worker)["config"]["env"] == {"DB_PASSWORD": "***", "LEVEL": "low"}
        assert json.loads(of_child)["specification"]["process"]["env"] == {"DB_PASSWORD": "***", "LEVEL": "low"}
        assert json.loads(of_child)["specification"]["check"]["address"] == "redis://:***@127.0.0.1:7390"


def test_describe_shows_everything_about_a_worker_for_a_person_and_as_json(plant: Plant, run: Run) -> None:
    assert run("set", "flow-1", "stopped", "--yes").exit_code == 0
    text = run("describe", "worker", "flow-1").stdout
    lines = dict(re.findall(r"^(\w[\w ]{0,11}?) {2,}(.*)$", text, re.MULTILINE))
    assert lines["Worker"] == "flow-1, process on edge-1 of plant-1"
    assert lines["Desired"] == "stopped (set by an operator), configuration c1, generation 2"
    assert lines["Reason"] == "desired is stopped and pid 42 runs"
    assert lines["Lease"] == "free, no action yet"
    assert lines["Held back"] == "no"
    assert lines["Conditions"] == "none"
    assert "operator.set" in text.splitlines()[-1]
    document = json.loads(run("describe", "worker", "worker/flow-1", "-o", "json").stdout)
    assert (document["observed"]["pid"], document["config_id"], document["lease"]) == (42, "c1", None)
    assert document["events"][-1]["event"] == "operator.set"


def test_events_are_told_oldest_first_with_ages_or_as_json(plant: Plant, run: Run) -> None:
    run("set", "flow-1", "stopped", "--yes")
    run("set", "flow-1", "default")
    told = json.loads(run("events", "--worker", "flow-1", "-o", "json").stdout)
    assert [event["desired"] for event in told] == ["stopped", "default"]
    assert re.fullmatch(
        r" +\ds  operator\.set +flow-1 +desired=default by=\S+", run("events", "-n", "1").stdout.rstrip("\n")
    )


def test_set_default_lifts_the_wish_again(plant: Plant, run: Run) -> None:
    run("set", "flow-1", "stopped", "--yes")
    assert json.loads(run("get", "workers", "-o", "json").stdout)[0]["desired"] == "stopped"
    run("set", "flow-1", "default")
    assert json.loads(run("get", "workers", "-o", "json").stdout)[0]["desired"] == "running"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("describe", "worker", "flow-3"), NotFound, "did you mean flow-"),
        (("events", "--worker", "nothing-like-it"), NotFound, "there are child/broker, flow-1, flow-2"),
        (("pause", "flow-9"), NotFound, "no worker or child 'flow-9'; did you mean flow-"),
        (("resume", "flow-9"), NotFound, "no worker or child 'flow-9'"),
        (("cancel", "child/brokr"), NotFound, "did you mean child/broker?"),
        (("pause", "child/broker"), Refused, "child/broker is a child: only workers are paused"),
        (("resume", "child/broker"), Refused, "it is never paused nor quarantined"),
        (("cancel", "flow-1"), Refused, "flow-1 has no action in progress"),
        (("set", "flow-9", "stopped"), NotFound, "no worker or child 'flow-9'"),
        (("--supervisor", "plant-9", "get", "workers"), NotFound, "expected one of plant-1"),
        (("logs", "flow-2"), NotFound, "it has not been observed on node edge-1"),
        (("wait", "worker/flow-1", "--for", "state=running", "--timeout", "300ms"), TimedOut, "seen state=stopped"),
    ],
)
def test_what_is_unknown_or_late_is_one_sentence(
    plant: Plant, run: Run, arguments: tuple[str, ...], error: type, words: str
) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "flows"),
        ("set", "flow-1", "up"),
        ("wait", "--for", "state=running"),
        ("wait", "flow-1", "--all", "--for", "state=running"),
        ("wait", "worker/flow-1", "--for", "colour=red"),
        ("wait", "worker/flow-1", "--for", "state=running", "--timeout", "soon"),
        ("describe", "worker", "child/broker"),
        ("nonsense",),
    ],
)
def test_wrong_usage_has_its_own_exit_code(plant: Plant, run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_a_store_that_does_not_answer_is_one_sentence_without_the_password(tmp_path: Path) -> None:
    environ = {"FSM_REDIS_URL": "redis://:secret@127.0.0.1:1/0", "FSM_DATA_DIR": str(tmp_path)}
    result = CliRunner(env=environ).invoke(fsmctl, ["get", "workers"])
    assert isinstance(result.exception, StoreUnreachable)
    assert result.exception.exit_code == 5
    assert "secret" not in str(result.exception)


def test_wait_waits_for_a_circuit_and_a_child(plant: Plant, run: Run) -> None:
    assert run("wait", "circuit/plant-1", "--for", "state=closed").exit_code == 0
    assert run("wait", "child/broker", "--for", "verdict=ok").exit_code == 0


def test_a_stored_state_that_nothing_seen_bears_out_is_not_what_wait_waits_for(plant: Plant, run: Run) -> None:
    """flow-1 is stored as stopped, and is seen to run: the next tick will say starting."""
    result = run("wait", "worker/flow-1", "--for", "state=stopped", "--timeout", "300ms")
    assert isinstance(result.exception, TimedOut)


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "apply",
        "diff",
        "plan",
        "explain",
        "replay",
        "get",
        "describe",
        "events",
        "set",
        "pause",
        "resume",
        "cancel",
        "circuit",
        "restart",
        "observe",
        "drain",
        "delete",
        "config",
        "wait",
        "logs",
        "exporter",
        "collector",
    ],
)
def test_the_help_of_each_command_has_an_example_and_fits_80_columns(run: Run, command: str) -> None:
    text = run(command, "--help").stdout
    assert re.search(rf"Examples?:\n +(FSM_\S+ )?fsmctl {command}", text)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_circuit_is_forced_and_reset_by_its_supervisors_name(plant: Plant, run: Run) -> None:
    done = run("circuit", "open", "plant-1", "--reason", "upgrade", "--yes")
    assert done.stderr == "circuit/plant-1 is forced open; `fsmctl circuit reset plant-1` ends that\n"
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    shown = run("get", "circuit").stdout
    assert shown.splitlines()[1].split() == [
        "plant-1",
        "open,",
        "forced",
        "0",
        "-",
        "forced",
        "by",
        f"{who}:",
        "upgrade",
    ]
    (row,) = json.loads(run("get", "circuit", "-o", "json").stdout)
    assert (row["state"], row["forced"]["state"], row["forced"]["reason"]) == ("open", "open", "upgrade")
    assert run("circuit", "reset", "plant-1").stderr == "circuit/plant-1 is reset: the checks count again\n"
    (row,) = json.loads(run("get", "circuit", "-o", "json").stdout)
    assert (row["state"], row["forced"]) == ("closed", None)


def test_a_circuit_of_no_supervisor_cannot_be_forced(plant: Plant, run: Run) -> None:
    assert isinstance(run("circuit", "open", "plant-9").exception, NotFound)


def test_incidents_are_listed_the_newest_first_with_what_failed_and_for_how_long(plant: Plant, run: Run) -> None:
    assert (run("incidents").stdout, run("incidents").stderr) == ("", "no incidents\n")
    now = plant.clock.now()
    over = Incident(
        id="1",
        opened_at=now - 7200,
        reason="broker: no answer",
        children=("broker",),
        attempts=5,
        escalated_at=now - 7100,
    )
    over = msgspec.structs.replace(over, closed_at=now - 7200 + 90.25)
    still = Incident(id="2", opened_at=now - 65, reason="broker: no answer", children=("broker",), attempts=2)
    for incident in (over, still):
        plant.client.hset(plant.keys.incidents, incident.id, encode(incident))
    assert run("incidents").stdout == (
        "ID  SUPERVISOR  STATE   OPENED  LASTED  ATTEMPTS  ESCALATED  REASON\n"
        "2   plant-1     open    1m05s   1m05s   2         no         broker: no answer\n"
        "1   plant-1     closed  2h00m   1m30s   5         yes        broker: no answer\n"
    )
    (newest,) = json.loads(run("incidents", "-n", "1", "-o", "json").stdout)
    assert (newest["id"], newest["state"], newest["closed_at"], newest["children"]) == ("2", "open", None, ["broker"])
    assert set(newest) == {
        *("id", "supervisor", "state", "reason", "children", "attempts"),
        *("opened_at", "escalated_at", "closed_at", "duration_seconds"),
    }
