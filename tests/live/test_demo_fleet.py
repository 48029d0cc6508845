"""The demo fleet under one running installation."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request

import pytest

from tests.live.system import FLOWS, WORKERS, System
from tests.waiting import wait_until

pytestmark = pytest.mark.live
OBSERVATION_INTERVAL = 2.0  # of the demo's fleet file
TICK = 1.0


def test_get_workers_prints_the_promised_keys_for_every_worker(running: System) -> None:
    rows = running.json("get", "workers")

    promised = {"id", "type", "node", "desired", "state", "phase", "reason", "observed_age_seconds", "pid", "action"}
    assert {row["id"] for row in rows} == set(WORKERS)
    assert all(promised <= set(row) for row in rows)
    assert {(row["desired"], row["state"], row["phase"]) for row in rows} == {("running", "running", "running")}
    assert {row["node"] for row in rows} == {"edge-1", "edge-2"}


def test_s22_a_killed_flow_runs_again_by_an_action_told_from_claim_to_outcome(running: System) -> None:
    before = running.worker("line-1-temperature")
    killed = time.time()
    os.kill(before["pid"], signal.SIGKILL)

    after = running.new_pid("line-1-temperature", before["pid"], 60)

    events = [event for event in running.json("events", "--worker", "line-1-temperature") if event["time"]]
    claimed = [event for event in events if event["event"] == "action.claimed"][-1]
    told = [event["event"] for event in events if event.get("action_id") == claimed["action_id"]]
    assert told == ["action.claimed", "action.begun", "action.ended"]
    assert "signal 9" in claimed["reason"]
    assert str(before["pid"]) in claimed["reason"]
    ended = next(event for event in events if event["event"] == "action.ended" and event["token"] == claimed["token"])
    assert (ended["outcome"], ended["detail"]) == ("success", f"started as pid {after}")
    assert running.worker("line-1-temperature")["restarts"] == before["restarts"] + 1
    assert claimed["time"] - killed <= OBSERVATION_INTERVAL + 2 * TICK + 1, "what follows is the flow's own start"
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{running.ports[1]}/metrics").read().decode()
    assert 'action_type="start",status="success",supervisor="plant-1",worker_id="line-1-temperature"' in metrics


def test_a_killed_broker_opens_the_circuit_is_restarted_and_the_flows_go_on(running: System) -> None:
    pids = {flow: running.worker(flow)["pid"] for flow in FLOWS}
    broker = running.child("broker")["pid"]
    os.kill(broker, signal.SIGKILL)

    wait_until(lambda: running.child("broker")["pid"] not in (None, broker), "the broker to run anew", 20)
    running.wait_for("child/broker", "verdict=ok")
    running.wait_for("circuit/plant-1", "state=closed")
    for flow in FLOWS:
        running.wait_for(f"worker/{flow}", "state=running")

    told = [event["event"] for event in running.json("events", "-n", "200") if event.get("child_name") == "broker"]
    assert told[-4:] == ["circuit.opened", "circuit.restart", "circuit.half_opened", "circuit.closed"]
    assert {flow: running.worker(flow)["pid"] for flow in FLOWS} == pids
    ended = [event for event in running.json("events", "--worker", "child/broker") if event["event"] == "action.ended"]
    assert (ended[-1]["action"], ended[-1]["outcome"]) == ("restart_child", "success")


def test_s14_collectors_write_all_through_an_open_circuit(running: System) -> None:
    """The broker is held down by taking its executable's port away: a listener sits on it while it is dead."""
    broker = running.child("broker")["pid"]
    port = int(running.json("describe", "worker", FLOWS[0])["config"]["env"]["FLOW_BROKER"].split(":")[1])
    os.kill(broker, signal.SIGKILL)
    squatter = wait_until(lambda: _listen(port), "the broker's port to be free for the squatter", 10)
    try:
        running.wait_for("circuit/plant-1", "state=open", "30s")
        first = {row["id"]: row["observed_age_seconds"] for row in running.json("get", "workers")}
        seen = {flow: running.json("describe", "worker", flow)["observed"]["collected_at"] for flow in FLOWS}
        for flow in FLOWS:
            wait_until(
                lambda flow=flow: running.json("describe", "worker", flow)["observed"]["collected_at"] > seen[flow] + 2,
                f"{flow} to be observed again while the circuit is open",
                15,
            )
        assert running.json("get", "circuit")[0]["state"] == "open"
        assert all(age is not None and age < 10 for age in first.values())
    finally:
        squatter.close()
    running.wait_for("circuit/plant-1", "state=closed")
    for flow in FLOWS:
        running.wait_for(f"worker/{flow}", "state=running")


def _listen(port: int) -> object:
    import socket

    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("127.0.0.1", port))
        one.listen(64)
    except OSError:
        one.close()
        return None
    return one


def test_set_stopped_stops_one_worker_and_default_brings_it_back(running: System) -> None:
    running.fsmctl("set", "line-1-pressure", "stopped", "--yes")
    running.wait_for("worker/line-1-pressure", "state=stopped")
    row = running.worker("line-1-pressure")
    assert (row["desired"], row["overridden"], row["pid"]) == ("stopped", True, None)

    running.fsmctl("apply", "-f", str(running.fleet), "--yes")
    assert running.worker("line-1-pressure")["desired"] == "stopped"

    running.fsmctl("set", "line-1-pressure", "default")
    running.wait_for("worker/line-1-pressure", "state=running")


def test_apply_of_a_bad_file_is_refused_and_leaves_the_fleet_as_it_was(running: System) -> None:
    before = {row["id"]: (row["pid"], row["desired"]) for row in running.json("get", "workers")}
    bad = running.folder / "bad.toml"
    bad.write_text(running.fleet.read_text().replace('node = "edge-2"', 'node = "edge-9"'))

    refused = running.fsmctl("apply", "-f", str(bad), code=2)

    assert "edge-9" in refused.stderr
    assert "edge-1, edge-2" in refused.stderr
    assert str(bad) in refused.stderr
    assert {row["id"]: (row["pid"], row["desired"]) for row in running.json("get", "workers")} == before


def test_apply_reconfigures_adds_and_forgets_while_the_others_run_on(running: System) -> None:
    untouched = running.worker("line-2-temperature")["pid"]
    old = running.worker("line-1-temperature")["pid"]
    text = running.fleet.read_text()
    extra = '\n[[workers]]\nid = "extra"\ntype = "process"\nnode = "edge-2"\nconfig = { command = ["sleep", "1000"] }\n'
    changed = running.folder / "changed.toml"
    changed.write_text(text.replace('FLOW_TAG = "line-1.temperature"', 'FLOW_TAG = "line-1.other"') + extra)

    running.fsmctl("apply", "-f", str(changed))
    running.wait_for("worker/extra", "state=running")
    running.new_pid("line-1-temperature", old, 30)
    running.fsmctl("apply", "-f", str(running.fleet), "--yes")
    wait_until(
        lambda: "extra" not in {row["id"] for row in running.json("get", "workers")}, "extra to be forgotten", 30
    )

    assert running.fsmctl("describe", "worker", "extra", code=4).stderr.startswith("error: no worker or child 'extra'")
    assert running.worker("line-2-temperature")["pid"] == untouched
    wait_until(lambda: running.worker("line-1-temperature")["state"] == "running", "line-1-temperature to run", 30)


def test_logs_show_what_a_flow_printed(running: System) -> None:
    assert "connected" in running.fsmctl("logs", "line-1-temperature", "-n", "20").stdout


def test_wait_times_out_with_its_own_exit_code_and_what_was_seen(running: System) -> None:
    late = running.fsmctl("wait", "worker/plc-1", "--for", "state=stopped", "--timeout", "500ms", code=6)
    assert "seen state=running" in late.stderr


def test_an_unknown_worker_is_an_error_with_a_suggestion(running: System) -> None:
    assert "did you mean line-1-pressure?" in running.fsmctl("describe", "worker", "line-1-presure", code=4).stderr


def test_a_part_that_dies_is_started_again_and_the_supervised_processes_do_not_notice(running: System) -> None:
    pids = {worker: running.worker(worker)["pid"] for worker in WORKERS}
    for part in ("supervisor", "node-edge-1", "exporter"):
        old = running.part_pid(part)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda part=part, old=old: running.part_pid(part) != old, f"{part} to be started again", 20)

    victim = pids["line-1-pressure"]
    os.kill(victim, signal.SIGKILL)
    pids["line-1-pressure"] = running.new_pid("line-1-pressure", victim, 60)

    assert {worker: running.worker(worker)["pid"] for worker in WORKERS} == pids


def test_events_can_be_followed_as_they_happen(running: System) -> None:
    with running.follow("events", "-f", "-n", "1", "-o", "json") as lines:
        next(lines)  # what was there already: the command is at work
        running.fsmctl("set", "plc-1", "default")
        event = next(event for event in map(json.loads, lines) if event["event"] == "operator.set")
    assert (event["worker_id"], event["desired"]) == ("plc-1", "default")


def test_the_output_of_a_flow_can_be_followed_as_it_is_written(running: System) -> None:
    with running.follow("logs", "line-2-temperature", "-f", "-n", "1") as lines:
        next(lines)
        os.kill(running.worker("line-2-temperature")["pid"], signal.SIGKILL)
        assert "connected" in next(line for line in lines if "connected" in line)
    running.wait_for("worker/line-2-temperature", "state=running")
