"""Fleet files: what is read from a good one, and how each bad one is refused with place, value and expectation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from supervisor.fleet import Fleet, WorkerEntry, config_id, read_fleets
from supervisor.fleetfile import FleetError
from supervisor.model import Check, ChildSpec, DeclaredRule, Runbook, SupervisorSettings
from workers.duration import Duration
from workers.model import Desired
from workers.process.config import Limits, ProcessConfig
from workers.registry import WorkerRegistry, built_in

TYPES = built_in()
DEMO = Path(__file__).parents[2] / "compose" / "demo" / "fleet.toml"
EXAMPLE = """
[supervisor]                        # or several [[supervisors]], each named by its workers and children
name = "plant-1"
tick_interval = "1s"
observation_interval = "5s"

[[children]]
name = "broker"
type = "redis"                      # redis | redpanda | benthos | tcp | http | process
node = "edge-1"
command = ["redis-server", "--port", "7390"]
check = { address = "127.0.0.1:7390", timeout = "1s", failures = 2 }
runbook = { url = "https://example.com/runbooks/broker", steps = ["Check the broker's log", "Restart it by hand"] }

[[workers]]
id = "line-1-temperature"
type = "process"
node = "edge-1"
desired = "running"                 # running | stopped
depends_on = ["broker"]
config = { command = ["python3", "flow.py"], env = { TOPIC = "umh.v1.acme.line-1" }, cwd = ".", min_uptime = "10s", stop_signal = "TERM", stop_timeout = "10s" }
"""  # noqa: E501 - SPEC 5's own example, as it stands there

TOP = '[supervisor]\nname = "p"\n'
WORKER = '[[workers]]\nid = "a"\ntype = "process"\nnode = "n"\n'
OTHER = WORKER.replace('"a"', '"b"')
GROUP = '[[groups]]\nname = "line"\nmax_in_action = 2\n'
CONFIG = 'config = { command = ["x"] }\n'
CHILD = '[[children]]\nname = "b"\ntype = "redis"\nnode = "n"\n'
CHECK = 'check = { address = "h:1" }\n'
FORM = 'is not a duration: expected a number with a unit, as "500ms", "5s", "10m" or "1h"'


COMMANDS = """
[[workers]]
id = "gw"
type = "command"
config = { start = ["gw", "start"], stop = ["gw", "stop"], status = ["gw", "status"] }
"""


def configured(more: str) -> str:
    """Return a file with one worker whose config has `more` beside its command."""
    return TOP + WORKER + f'config = {{ command = ["x"], {more} }}\n'


# name of the case: (text of the file, message without the file's name in front)
REFUSED: dict[str, tuple[str, str]] = {
    "not TOML": ("a = \n", "is not TOML: Invalid value (at line 1, column 5)"),
    "empty": ("", "is empty; expected at least a [supervisor] table with a name"),
    "only blanks": (" \n\n", "is empty; expected at least a [supervisor] table with a name"),
    "unknown table": (
        "foo = 1\n" + TOP,
        "top level: unknown key 'foo' (value 1); expected one of children, groups, instances, metrics, nodes, rules, "
        "supervisor, supervisors, templates, workers",
    ),
    "unknown key of the supervisor": (
        TOP + "foo = 1\n",
        "[supervisor]: unknown key 'foo' (value 1); "
        "expected one of backoff_jitter, escalation_command, escalation_timeout, flap_window, half_open_for, "
        "half_open_workers, max_attempts, name, nodes, observation_interval, pool, quarantine_after, quarantine_for, "
        "quarantine_window, recovery_rate, tick_interval",
    ),
    "unknown key of a worker": (
        TOP + WORKER + CONFIG + OTHER + 'colour = "red"\n',
        "[[workers]] number 2 (id 'b'): unknown key 'colour' (value 'red'); "
        "expected one of config, depends_on, desired, group, id, labels, node, supervisor, type",
    ),
    "a label that is none": (
        TOP + WORKER + 'labels = { line = "1, 2" }\n' + CONFIG,
        "[[workers]] number 1 (id 'a'), key labels.line: value '1, 2': '1, 2': expected a name of at most 63 letters, "
        "digits, '-', '_' and '.', beginning with a letter or digit",
    ),
    "a label that every worker has": (
        TOP + WORKER + 'labels = { node = "x" }\n' + CONFIG,
        "[[workers]] number 1 (id 'a'), key labels.node: value 'x': every worker has the label node already; expected "
        "another name",
    ),
    "unknown key of a group": (
        TOP + GROUP + "max = 3\n",
        "[[groups]] number 1 (name 'line'): unknown key 'max' (value 3); expected one of max_in_action, name, "
        "supervisor",
    ),
    "a label for workers that there is not": (
        TOP + '[metrics]\nworker_label = "node"\n',
        "[metrics], key worker_label: value 'node': expected one of worker_id, worker_type",
    ),
    "an unknown key of metrics": (
        TOP + "[metrics]\nlabel = 1\n",
        "[metrics]: unknown key 'label' (value 1); expected one of worker_label",
    ),
    "a group without a number": (
        TOP + '[[groups]]\nname = "line"\n',
        "[[groups]] number 1 (name 'line'): key 'max_in_action' is missing; expected it to be set",
    ),
    "a group that lets nobody act": (
        TOP + GROUP.replace("2", "0"),
        "[[groups]] number 1 (name 'line'), key max_in_action: value 0: expected `int` >= 1",
    ),
    "the same group twice": (
        TOP + GROUP + GROUP,
        "[[groups]] number 2 (name 'line'), key name: value 'line': "
        "expected a name of its own; number 1 has it already",
    ),
    "a worker of an unknown group": (
        TOP + GROUP + GROUP.replace("line", "hall") + WORKER + 'group = "lime"\n' + CONFIG,
        "[[workers]] number 1 (id 'a'), key group: value 'lime': "
        "unknown group; expected one of hall, line of the [[groups]] of this file",
    ),
    "a worker of a group where there is none": (
        TOP + WORKER + 'group = "line"\n' + CONFIG,
        "[[workers]] number 1 (id 'a'), key group: value 'line': "
        "unknown group; expected a name of the [[groups]] of this file",
    ),
    "a jitter above 1": (
        TOP + "backoff_jitter = 1.5\n",
        "[supervisor], key backoff_jitter: value 1.5: expected `float` <= 1.0",
    ),
    "a jitter below 0": (
        TOP + "backoff_jitter = -0.1\n",
        "[supervisor], key backoff_jitter: value -0.1: expected `float` >= 0.0",
    ),
    "a quarantine after nothing": (
        TOP + "quarantine_after = 0\n",
        "[supervisor], key quarantine_after: value 0: expected `int` >= 1",
    ),
    "a quarantine after too much": (
        TOP + "quarantine_after = 101\n",
        "[supervisor], key quarantine_after: value 101: expected `int` <= 100",
    ),
    "a quarantine without a window": (
        TOP + 'quarantine_window = "0s"\n',
        "[supervisor], key quarantine_window: value '0ms': expected at least 1s",
    ),
    "a quarantine without a length": (
        TOP + 'quarantine_for = "500ms"\n',
        "[supervisor], key quarantine_for: value '500ms': expected at least 1s",
    ),
    "unknown key of a child": (
        TOP + CHILD + CHECK + "port = 1\n",
        "[[children]] number 1 (name 'b'): unknown key 'port' (value 1); expected one of check, command, container, "
        "cwd, engine, env, env_file, limits, name, node, pid_file, restart, runbook, secrets, service, start_grace, "
        "stop_signal, stop_timeout, supervisor, topics, type, umask, unit, user",
    ),
    "unknown key of a check": (
        TOP + CHILD + 'check = { adress = "h:1" }\n',
        "[[children]] number 1 (name 'b'), key check: unknown key 'adress' (value 'h:1'); "
        "expected one of address, admin, body, brokers, ca, command, failures, file, kind, leaderless, max_age, "
        "nodes, options, password_file, path, sasl, status, successes, timeout, tls, under_replicated, username",
    ),
    "unknown key of a runbook": (
        TOP + CHILD + CHECK + 'runbook = { url = "u", pages = 1 }\n',
        "[[children]] number 1 (name 'b'), key runbook: unknown key 'pages' (value 1); expected one of steps, url",
    ),
    "unknown key of a config": (
        configured("speed = 3"),
        "[[workers]] number 1 (id 'a'), key config: unknown key 'speed' (value 3); "
        "expected one of command, container, cwd, driver, engine, env, env_file, limits, min_uptime, secrets, "
        "stop_signal, stop_timeout, umask, unit, user",
    ),
    "a driver that there is not": (
        configured('driver = "podman"'),
        "[[workers]] number 1 (id 'a'), key config.driver: value 'podman': expected one of process, systemd, docker",
    ),
    "a unit without its driver": (
        configured('unit = "b.service"'),
        "[[workers]] number 1 (id 'a'), key config: key 'unit' is of driver systemd; beside driver 'process' expected "
        "command, cwd, env, env_file, limits, secrets, stop_signal, stop_timeout, umask, user",
    ),
    "systemd without a unit": (
        TOP + WORKER + 'config = { driver = "systemd" }\n',
        "[[workers]] number 1 (id 'a'), key config: key 'unit' is missing; expected it to be set for driver 'systemd'",
    ),
    "a command beside a unit": (
        configured('driver = "systemd", unit = "b.service"'),
        "[[workers]] number 1 (id 'a'), key config: key 'command' is of driver process; beside driver 'systemd' "
        "expected unit",
    ),
    "a unit's stop_timeout": (
        TOP + WORKER + 'config = { driver = "systemd", unit = "b.service", stop_timeout = "5s" }\n',
        "[[workers]] number 1 (id 'a'), key config: key 'stop_timeout' is of driver process and docker; beside driver "
        "'systemd' expected unit",
    ),
    "half a unit's name": (
        TOP + WORKER + 'config = { driver = "systemd", unit = "redpanda" }\n',
        "[[workers]] number 1 (id 'a'), key config.unit: value 'redpanda': expected the whole name of a systemd "
        'service, as "redpanda.service"',
    ),
    "a container that none is called": (
        TOP + WORKER + 'config = { driver = "docker", container = "a b" }\n',
        "[[workers]] number 1 (id 'a'), key config.container: value 'a b': expected the name or id of a container: "
        "letters, digits, '-', '_' and '.'",
    ),
    "an engine over the network": (
        TOP + WORKER + 'config = { driver = "docker", container = "b", engine = "tcp://h:2375" }\n',
        "[[workers]] number 1 (id 'a'), key config.engine: value 'tcp://h:2375': expected the socket of a Docker "
        'engine on this host, as "unix:///run/docker.sock"',
    ),
    "an engine of a child without a container": (
        TOP + CHILD + CHECK + 'engine = "unix:///run/docker.sock"\n',
        "[[children]] number 1 (name 'b'), key engine: value 'unix:///run/docker.sock': expected a container beside it",
    ),
    "a unit of a child without a node": (
        TOP + CHILD.replace('node = "n"\n', "") + CHECK + 'unit = "b.service"\n',
        "[[children]] number 1 (name 'b'), key unit: value 'b.service': a child without a node has no such key: it is "
        "of one host",
    ),
    "unknown key of limits": (
        configured("limits = { files = 3 }"),
        "[[workers]] number 1 (id 'a'), key config.limits: unknown key 'files' (value 3); "
        "expected one of core, file_size, memory, open_files, processes",
    ),
    "a limit below nothing": (
        configured("limits = { open_files = -1 }"),
        "[[workers]] number 1 (id 'a'), key config.limits.open_files: value -1: expected `int` >= 0",
    ),
    "a umask that is none": (
        configured('umask = "888"'),
        "[[workers]] number 1 (id 'a'), key config.umask: value '888': expected three octal digits, as \"027\"",
    ),
    "a umask that is a number": (
        configured("umask = 18"),
        "[[workers]] number 1 (id 'a'), key config.umask: value 18: expected `str`, got `int`",
    ),
    "a number for a secret's file": (
        configured("secrets = { A = 1 }"),
        "[[workers]] number 1 (id 'a'), key config.secrets.A: value 1: expected `str`, got `int`",
    ),
    "a user of a child without a process": (
        TOP + CHILD + CHECK + 'user = "nobody"\n',
        "[[children]] number 1 (name 'b'), key user: value 'nobody': expected a command beside it, whose process "
        "that is of",
    ),
    "a child's limit that is none": (
        TOP + CHILD + CHECK + 'command = ["x"]\nlimits = { core = "big" }\n',
        "[[children]] number 1 (name 'b'), key limits.core: value 'big': expected `int`, got `str`",
    ),
    "an unknown limit of a child": (
        TOP + CHILD + CHECK + 'command = ["x"]\nlimits = { cores = 1 }\n',
        "[[children]] number 1 (name 'b'), key limits: unknown key 'cores' (value 1); "
        "expected one of core, file_size, memory, open_files, processes",
    ),
    "a path without a slash": (
        TOP + CHILD.replace("redis", "http") + 'check = { address = "h:1", path = "ping" }\n',
        "[[children]] number 1 (name 'b'), key check.path: value 'ping': expected a path that begins with \"/\"",
    ),
    "a name that Celery's keys have": (
        '[supervisor]\nname = "celery"\n',
        "[supervisor], key name: value 'celery': expected another name; Celery's keys begin with this one",
    ),
    "a name that ends in a newline": (
        '[supervisor]\nname = "p\\n"\n',
        "[supervisor], key name: value 'p\\n': expected a name of at most 63 letters, digits, '-', '_' and '.', "
        "beginning with a letter or digit",
    ),
    "an address without a port": (
        TOP + CHILD + 'check = { address = "h" }\n',
        "[[children]] number 1 (name 'b'), key check.address: value 'h': "
        'expected an address "HOST:PORT" with a port from 1 to 65535',
    ),
    "a command without a program": (
        TOP + WORKER + 'config = { command = [""] }\n',
        "[[workers]] number 1 (id 'a'), key config: command begins with an empty word: expected the program to run",
    ),
    "no supervisor": (
        WORKER + CONFIG,
        "has neither; expected one [supervisor] table, or [[supervisors]] tables",
    ),
    "no id": (
        TOP + WORKER.replace('id = "a"\n', "") + CONFIG,
        "[[workers]] number 1: key 'id' is missing; expected it to be set",
    ),
    "no node": (
        TOP + WORKER.replace('node = "n"\n', "") + CONFIG,
        "[[workers]] number 1 (id 'a'): key 'node' is missing; expected the node that runs this process; "
        "only workers of type command can be without one",
    ),
    "commands without a program": (
        TOP + COMMANDS.replace('stop = ["gw"', 'stop = [" "'),
        "[[workers]] number 1 (id 'gw'), key config: stop begins with an empty word: expected the program to run",
    ),
    "no command to look": (
        TOP + COMMANDS.replace('["gw", "status"]', "[]"),
        "[[workers]] number 1 (id 'gw'), key config.status: value []: expected `array` of length >= 1",
    ),
    "a look that would be cut off": (
        TOP + COMMANDS.replace("}", ', status_timeout = "6s" }'),
        "[[workers]] number 1 (id 'gw'), key config: status_timeout is 6s: expected more than 0s and at most 5s",
    ),
    "no command": (
        TOP + WORKER,
        "[[workers]] number 1 (id 'a'), key config: key 'command' is missing; expected it to be set",
    ),
    "a flow without its address": (
        TOP + WORKER.replace("process", "dfc_read") + CONFIG,
        "[[workers]] number 1 (id 'a'), key config: expected command and http, for a process, "
        "or stream and benthos, for a stream",
    ),
    "a runbook without its url": (
        TOP + CHILD + CHECK + 'runbook = { steps = ["x"] }\n',
        "[[children]] number 1 (name 'b'), key runbook: key 'url' is missing; expected it to be set",
    ),
    "a number for a table": ("supervisor = 3\n", "[supervisor]: value 3: expected `object`, got `int`"),
    "a number for a list of tables": ("workers = 3\n" + TOP, "[workers]: value 3: expected `array`, got `int`"),
    "a number for one table": ("workers = [3]\n" + TOP, "[[workers]] number 1: value 3: expected `object`, got `int`"),
    "a number for a name": ("[supervisor]\nname = 3\n", "[supervisor], key name: value 3: expected `str`, got `int`"),
    "text for a list": (
        TOP + WORKER + 'config = { command = "x" }\n',
        "[[workers]] number 1 (id 'a'), key config.command: value 'x': expected `array`, got `str`",
    ),
    "a number inside a list": (
        TOP + WORKER + 'config = { command = ["x", 3] }\n',
        "[[workers]] number 1 (id 'a'), key config.command.1: value 3: expected `str`, got `int`",
    ),
    "a number for a variable": (
        configured("env = { A = 1 }"),
        "[[workers]] number 1 (id 'a'), key config.env.A: value 1: expected `str`, got `int`",
    ),
    "an empty command": (
        TOP + WORKER + "config = { command = [] }\n",
        "[[workers]] number 1 (id 'a'), key config.command: value []: expected `array` of length >= 1",
    ),
    "a check that never waits": (
        TOP + CHILD + 'check = { address = "h:1", timeout = "0s" }\n',
        "[[children]] number 1 (name 'b'), key check.timeout: value '0ms': expected more than 0s and at most 5s",
    ),
    "a check that waits too long": (
        TOP + CHILD + 'check = { address = "h:1", timeout = "6s" }\n',
        "[[children]] number 1 (name 'b'), key check.timeout: value '6s': expected more than 0s and at most 5s",
    ),
    "a check on its host of a child without a node": (
        TOP + '[[children]]\nname = "b"\ntype = "tcp"\ncheck = { kind = "command", command = ["true"] }\n',
        "[[children]] number 1 (name 'b'), key node: value None: a check of kind command needs the child's node; "
        "one of tcp, http, redis, kafka, redpanda does not",
    ),
    "a process of a child without a node": (
        TOP + '[[children]]\nname = "b"\ntype = "redis"\ncommand = ["x"]\n' + CHECK,
        "[[children]] number 1 (name 'b'), key command: value ['x']: a child without a node has no such key: "
        "it is of one host",
    ),
    "a long check of a child without a node": (
        TOP + '[[children]]\nname = "b"\ntype = "redis"\ncheck = { address = "h:1", timeout = "3s" }\n',
        "[[children]] number 1 (name 'b'), key check.timeout: value '3s': expected at most 2s: the tick itself looks "
        "at a child without a node",
    ),
    "no failure allowed": (
        TOP + CHILD + 'check = { address = "h:1", failures = 0 }\n',
        "[[children]] number 1 (name 'b'), key check.failures: value 0: expected `int` >= 1",
    ),
    "no attempt allowed": (
        TOP + "max_attempts = 0\n",
        "[supervisor], key max_attempts: value 0: expected `int` >= 1",
    ),
    "a wish that is none": (
        TOP + WORKER + CONFIG + 'desired = "up"\n',
        "[[workers]] number 1 (id 'a'), key desired: value 'up': expected one of running, stopped",
    ),
    "an unknown type of child": (
        TOP + CHILD.replace("redis", "kafka") + CHECK,
        "[[children]] number 1 (name 'b'), key type: value 'kafka': "
        "expected one of redis, redpanda, benthos, tcp, http, process, supervisor",
    ),
    "an unknown type of worker": (
        TOP + WORKER.replace("process", "robot") + CONFIG,
        "[[workers]] number 1 (id 'a'), key type: value 'robot': unknown worker type; "
        "expected one of "
        "benthos, command, dfc_read, dfc_write, http_service, mqtt, opcua, process, tcp_service",
    ),
    "a duration without a unit": (
        TOP + 'tick_interval = "5"\n',
        f"[supervisor], key tick_interval: value '5': '5' {FORM}",
    ),
    "a number for a duration": (
        configured("min_uptime = 3"),
        f"[[workers]] number 1 (id 'a'), key config.min_uptime: value 3: 3 {FORM}",
    ),
    "ticks too close": (
        TOP + 'tick_interval = "10ms"\n',
        "[supervisor], key tick_interval: value '10ms': expected at least 50ms",
    ),
    "observations too close": (
        TOP + 'observation_interval = "10ms"\n',
        "[supervisor], key observation_interval: value '10ms': expected at least 100ms",
    ),
    "observations too far apart": (
        TOP + 'observation_interval = "10s"\n',
        "[supervisor], key observation_interval: value '10s': expected less than 10s, "
        "the age at which an observation is too old to act on",
    ),
    "a worker's stop_timeout too long": (
        configured('stop_timeout = "21s"'),
        "[[workers]] number 1 (id 'a'), key config: stop_timeout is 21s: expected more than 0s and at most 20s",
    ),
    "a worker's signal that is none": (
        configured('stop_signal = "STOP"'),
        "[[workers]] number 1 (id 'a'), key config.stop_signal: value 'STOP': "
        "expected one of TERM, INT, QUIT, HUP, USR1, USR2, KILL",
    ),
    "a child twice": (
        TOP + CHILD + CHECK + CHILD + CHECK,
        "[[children]] number 2 (name 'b'), key name: value 'b': expected a name of its own; number 1 has it already",
    ),
    "a worker twice": (
        TOP + WORKER + CONFIG + OTHER + CONFIG + WORKER + CONFIG,
        "[[workers]] number 3 (id 'a'), key id: value 'a': expected a name of its own; number 1 has it already",
    ),
    "a node that was not declared": (
        TOP + 'nodes = ["m", "k"]\n' + WORKER + CONFIG,
        "[[workers]] number 1 (id 'a'), key node: value 'n': unknown node; "
        "expected one of k, m (or add it to the supervisor's nodes)",
    ),
    "a child's node that was not declared": (
        TOP + 'nodes = ["m"]\n' + CHILD + CHECK,
        "[[children]] number 1 (name 'b'), key node: value 'n': unknown node; "
        "expected one of m (or add it to the supervisor's nodes)",
    ),
    "a node called supervisor": (
        TOP + CHILD.replace('"n"', '"supervisor"') + CHECK,
        "[[children]] number 1 (name 'b'), key node: value 'supervisor': "
        "expected a node's name; supervisor and pool mean something else here",
    ),
    "a node called pool": (
        TOP + WORKER.replace('"n"', '"pool"') + CONFIG,
        "[[workers]] number 1 (id 'a'), key node: value 'pool': "
        "expected a node's name; supervisor and pool mean something else here",
    ),
    "a check without an address": (
        TOP + CHILD,
        "[[children]] number 1 (name 'b'), key check.address: value None: "
        'expected the "HOST:PORT" that a check of kind redis asks',
    ),
    "a process child without a command": (
        TOP + CHILD.replace("redis", "process"),
        "[[children]] number 1 (name 'b'), key command: value []: expected the command that this process child is, "
        "or its unit or container",
    ),
    "a dependency on nobody": (
        TOP + CHILD + CHECK + WORKER + CONFIG + 'depends_on = ["c"]\n',
        "[[workers]] number 1 (id 'a'), key depends_on: value 'c': expected a child or worker beside it: one of a, b",
    ),
    "a dependency on two of one name": (
        TOP + CHILD + CHECK + OTHER + CONFIG + WORKER + CONFIG + 'depends_on = ["b"]\n',
        "[[workers]] number 2 (id 'a'), key depends_on: value 'b': 'b' names a child and a worker; rename one of them",
    ),
    "a dependency on itself": (
        TOP + WORKER + CONFIG + 'depends_on = ["a"]\n',
        "[[workers]] number 1 (id 'a'), key depends_on: value 'a -> a': "
        "depends_on runs in a circle; expected an order in which workers can start",
    ),
    "a circle of dependencies": (
        TOP + WORKER + CONFIG + 'depends_on = ["b"]\n' + OTHER + CONFIG + 'depends_on = ["a"]\n',
        "[[workers]] number 1 (id 'a'), key depends_on: value 'a -> b -> a': "
        "depends_on runs in a circle; expected an order in which workers can start",
    ),
}


def read_fleet(path: Path, types: WorkerRegistry, known_nodes: Sequence[str] = ()) -> Fleet:
    """Read a file with one supervisor."""
    (fleet,) = read_fleets(path, types, known_nodes)
    return fleet


def written(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_file_is_refused_with_place_value_and_what_was_expected(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value) == f"{path}: {message}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[supervisor]\nname = "a b"\n', "[supervisor], key name: value 'a b'"),
        (TOP + WORKER.replace('"a"', '"-a"') + CONFIG, "[[workers]] number 1 (id '-a'), key id: value '-a'"),
        (TOP + CHILD + 'check = { address = "h" }\n', "[[children]] number 1 (name 'b'), key check.address: value 'h'"),
        (
            TOP + CHILD + 'check = { address = "h:65536" }\n',
            "[[children]] number 1 (name 'b'), key check.address: value 'h:65536'",
        ),
        (
            TOP + WORKER.replace("process", "dfc_read") + 'config = { command = ["x"], http = "h:0" }\n',
            "[[workers]] number 1 (id 'a'), key config.http: value 'h:0'",
        ),
    ],
)
def test_a_name_or_an_address_of_another_form_is_refused_with_its_place(text: str, place: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value).startswith(f"{path}: {place}: expected ")


def test_an_unknown_key_with_a_dot_in_it_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, '"a.b" = 1\n' + TOP)
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value).startswith(f"{path}: top level: unknown key 'a.b' ")
    assert str(caught.value).endswith(
        "; expected one of children, groups, instances, metrics, nodes, rules, supervisor, supervisors, templates, "
        "workers"
    )


class Plain(msgspec.Struct, frozen=True):
    """The config of a worker type that is no process."""

    url: str
    tint: complex | None = None


def plain_types() -> WorkerRegistry:
    types = WorkerRegistry()
    types.register(dataclasses.replace(TYPES.get("process"), name="plain", config_type=Plain))
    return types


def test_a_worker_type_need_not_be_a_process(tmp_path: Path) -> None:
    text = TOP + WORKER.replace("process", "plain") + 'config = { url = "u" }\n'
    entry = read_fleet(written(tmp_path, text), plain_types()).workers[0]
    assert (entry.type, entry.desired.config["url"]) == ("plain", "u")


def test_a_value_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    text = TOP + WORKER.replace("process", "plain") + 'config = { url = "u", tint = "red" }\n'
    path = written(tmp_path, text)
    with pytest.raises(FleetError) as caught:
        read_fleet(path, plain_types())
    assert str(caught.value) == (
        f"{path}: [[workers]] number 1 (id 'a'), key config.tint: value 'red': "
        "<class 'complex'> does not occur in a fleet file"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stop_timeout", "1h", "stop_timeout is 3600s: expected more than 0s and at most 20s"),
        ("stop_signal", "STOP", "expected one of TERM, INT, QUIT, HUP, USR1, USR2, KILL"),
    ],
)
def test_a_childs_stop_that_cannot_be_is_refused(key: str, value: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, TOP + CHILD + CHECK + f'command = ["x"]\n{key} = "{value}"\n')
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value).startswith(f"{path}: [[children]] number 1 (name 'b')")
    assert str(caught.value).endswith(message)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory; expected a fleet file in TOML"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="cannot be read: Is a directory; expected a fleet file in TOML"):
        read_fleet(tmp_path, TYPES)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value) == f"{path}: is not UTF-8 text (invalid continuation byte at byte 5); expected TOML"


def test_the_specs_own_example_is_accepted(tmp_path: Path) -> None:
    path = written(tmp_path, EXAMPLE)
    broker = ProcessConfig(command=("redis-server", "--port", "7390"), cwd=str(tmp_path))
    flow = ProcessConfig(command=("python3", "flow.py"), env={"TOPIC": "umh.v1.acme.line-1"}, cwd=str(tmp_path))
    assert read_fleet(path, TYPES) == Fleet(
        settings=SupervisorSettings(
            name="plant-1", tick_interval=1.0, observation_interval=5.0, max_attempts=5, source=str(path)
        ),
        children=(
            ChildSpec(
                name="broker",
                type="redis",
                node="edge-1",
                check=Check(kind="redis", address="127.0.0.1:7390", timeout=1.0, failures=2),
                process=broker,
                config_id=config_id(broker),
                start_grace=5.0,
                runbook=Runbook(
                    url="https://example.com/runbooks/broker", steps=("Check the broker's log", "Restart it by hand")
                ),
            ),
        ),
        workers=(
            WorkerEntry(
                "line-1-temperature",
                "process",
                "edge-1",
                Desired(
                    state="running",
                    config={
                        "command": ("python3", "flow.py"),
                        "env": {"TOPIC": "umh.v1.acme.line-1"},
                        "cwd": str(tmp_path),
                        "min_uptime": 10.0,
                        "stop_signal": "TERM",
                        "stop_timeout": 10.0,
                    },
                    config_id=config_id(flow),
                    depends_on=("broker",),
                ),
            ),
        ),
    )


def test_groups_jitter_and_quarantine_are_read(tmp_path: Path) -> None:
    more = 'backoff_jitter = 0.2\nquarantine_after = 3\nquarantine_window = "1m"\nquarantine_for = "30s"\n'
    path = written(tmp_path, TOP + more + GROUP + WORKER + 'group = "line"\n' + CONFIG + OTHER + CONFIG)
    fleet = read_fleet(path, TYPES)
    assert fleet.settings == SupervisorSettings(
        name="p",
        groups={"line": 2},
        backoff_jitter=0.2,
        quarantine_after=3,
        quarantine_window=60.0,
        quarantine_for=30.0,
        source=str(path),
    )
    assert [worker.desired.group for worker in fleet.workers] == ["line", ""]


def test_another_group_is_no_other_configuration(tmp_path: Path) -> None:
    grouped = read_fleet(written(tmp_path, TOP + GROUP + WORKER + 'group = "line"\n' + CONFIG), TYPES).workers[0]
    alone = read_fleet(written(tmp_path, TOP + WORKER + CONFIG), TYPES).workers[0]
    assert grouped.desired.config_id == alone.desired.config_id


def test_the_demo_fleet_is_accepted() -> None:
    fleet = read_fleet(DEMO, TYPES)
    assert fleet.nodes == ("edge-1", "edge-2")
    assert [(child.name, child.type, child.check.failures) for child in fleet.children] == [("broker", "redis", 2)]
    assert {worker.type for worker in fleet.workers} == {"process", "dfc_read"}
    assert sum(worker.type == "dfc_read" for worker in fleet.workers) >= 4
    assert {worker.desired.config["cwd"] for worker in fleet.workers} == {str(DEMO.parent)}


def test_a_supervisor_alone_is_a_fleet_of_nobody(tmp_path: Path) -> None:
    path = written(tmp_path, TOP)
    assert read_fleet(path, TYPES) == Fleet(SupervisorSettings(name="p", source=str(path)), (), ())


def test_a_child_that_is_not_ours_to_start_has_no_process(tmp_path: Path) -> None:
    fleet = read_fleet(written(tmp_path, TOP + CHILD + CHECK), TYPES)
    assert fleet.children == (
        ChildSpec(name="b", type="redis", node="n", check=Check(kind="redis", address="h:1"), cwd=str(tmp_path)),
    )


def test_a_process_child_needs_no_address(tmp_path: Path) -> None:
    fleet = read_fleet(written(tmp_path, TOP + CHILD.replace("redis", "process") + 'command = ["x"]\n'), TYPES)
    assert fleet.children[0].check == Check(kind="process")


def test_nodes_are_those_declared_and_then_those_used(tmp_path: Path) -> None:
    text = TOP + 'nodes = ["n", "spare"]\n' + CHILD + CHECK + WORKER + CONFIG
    assert read_fleet(written(tmp_path, text), TYPES).nodes == ("n", "spare")
    assert read_fleet(written(tmp_path, TOP + WORKER + CONFIG), TYPES).nodes == ("n",)


def test_a_worker_that_is_run_by_commands_may_float_and_may_not(tmp_path: Path) -> None:
    text = 'supervisor.name = "p"\n' + COMMANDS
    floating = read_fleet(written(tmp_path, text), built_in())
    (worker,) = floating.workers
    assert (worker.node, worker.place, floating.nodes) == (None, "pool", ())
    assert worker.desired.config == {
        "start": ("gw", "start"),
        "stop": ("gw", "stop"),
        "status": ("gw", "status"),
        "env": {},
        "cwd": str(tmp_path),
        "min_uptime": 10.0,
        "status_timeout": 3.0,
    }
    bound = read_fleet(written(tmp_path, text.replace("config", 'node = "n"\nconfig')), built_in())
    assert (bound.workers[0].node, bound.workers[0].place, bound.nodes) == ("n", "n", ("n",))


def test_known_nodes_hold_when_the_file_declares_none(tmp_path: Path) -> None:
    path = written(tmp_path, TOP + WORKER + CONFIG)
    assert read_fleet(path, TYPES, known_nodes=["n"]).nodes == ("n",)
    with pytest.raises(FleetError, match="value 'n': unknown node; expected one of m"):
        read_fleet(path, TYPES, known_nodes=["m"])


def test_workers_may_depend_on_each_other_in_any_order_without_a_circle(tmp_path: Path) -> None:
    text = TOP + WORKER + CONFIG + 'depends_on = ["b"]\n' + OTHER + CONFIG
    fleet = read_fleet(written(tmp_path, text), TYPES)
    assert {worker.id: worker.desired.depends_on for worker in fleet.workers} == {"a": ("b",), "b": ()}


def test_a_working_directory_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "plant").mkdir()
    path = written(tmp_path / "plant", configured('cwd = "../flows"'))
    assert read_fleet(path, TYPES).workers[0].desired.config["cwd"] == str(tmp_path / "flows")


SETTINGS = """user = "nobody"
umask = "027"
limits = { open_files = 64, core = 0 }
env_file = "flow.env"
secrets = { PASSWORD = "/run/secrets/flow" }
"""


def test_the_settings_of_a_process_are_read_alike_for_workers_and_children(tmp_path: Path) -> None:
    worker = WORKER + 'config.command = ["x"]\n' + "".join(f"config.{line}\n" for line in SETTINGS.splitlines())
    fleet = read_fleet(written(tmp_path, TOP + worker + CHILD + CHECK + 'command = ["x"]\n' + SETTINGS), TYPES)
    expected = ProcessConfig(
        command=("x",),
        cwd=str(tmp_path),
        user="nobody",
        umask="027",
        limits=Limits(open_files=64, core=0),
        env_file=str(tmp_path / "flow.env"),
        secrets={"PASSWORD": "/run/secrets/flow"},
    )
    assert fleet.children[0].process == expected
    assert (
        msgspec.convert(fleet.workers[0].desired.config, ProcessConfig, dec_hook=lambda kind, at: kind(at)) == expected
    )
    assert fleet.workers[0].desired.config["limits"] == {"open_files": 64, "core": 0}


def test_settings_that_are_not_used_change_no_configurations_id(tmp_path: Path) -> None:
    desired = read_fleet(written(tmp_path, configured('cwd = "/srv"')), TYPES).workers[0].desired
    assert set(desired.config) == {"command", "env", "cwd", "min_uptime", "stop_signal", "stop_timeout"}
    assert desired.config_id == "0237b1789c55"


def test_a_stored_configuration_is_read_back_as_the_one_whose_id_it_carries(tmp_path: Path) -> None:
    desired = read_fleet(written(tmp_path, configured('min_uptime = "3s"')), TYPES).workers[0].desired
    stored = msgspec.convert(desired.config, ProcessConfig, dec_hook=lambda kind, value: kind(value))
    assert (config_id(stored), stored.min_uptime) == (desired.config_id, 3.0)


def test_a_configurations_id_changes_exactly_when_the_configuration_does() -> None:
    one = ProcessConfig(command=("x",), env={"A": "1", "B": "2"})
    same = ProcessConfig(command=("x",), env={"B": "2", "A": "1"}, min_uptime=Duration.parse("10000ms"))
    others = [ProcessConfig(command=("x", "y")), ProcessConfig(command=("x",), env={"A": "1", "B": "3"})]
    assert config_id(one) == config_id(same)
    assert len({config_id(config) for config in [one, *others]}) == 3


def test_a_circle_is_refused_with_its_members_in_order(tmp_path: Path) -> None:
    table = (
        '[[workers]]\nid = "{}"\ntype = "process"\nnode = "n"\ndepends_on = ["{}"]\nconfig = {{ command = ["x"] }}\n'
    )
    path = written(tmp_path, TOP + table.format("a", "b") + table.format("b", "c") + table.format("c", "b"))
    with pytest.raises(FleetError, match=r"value '(b -> c -> b|c -> b -> c)': depends_on runs in a circle"):
        read_fleet(path, TYPES)


def test_a_long_chain_of_dependencies_is_no_circle(tmp_path: Path) -> None:
    table = '[[workers]]\nid = "w{}"\ntype = "process"\nnode = "n"\n{}config = {{ command = ["x"] }}\n'
    chain = [table.format(n, f'depends_on = ["w{n - 1}"]\n' if n else "") for n in range(1500)]
    assert len(read_fleet(written(tmp_path, TOP + "".join(chain)), TYPES).workers) == 1500


SITES = """
[[supervisors]]
name = "north"
nodes = ["n1"]

[[supervisors]]
name = "south"
tick_interval = "2s"

[[children]]
supervisor = "north"
name = "broker"
type = "tcp"
node = "n1"
check = { address = "h:1" }

[[children]]
supervisor = "south"
name = "broker"
type = "tcp"
node = "s1"
check = { address = "h:2" }

[[groups]]
supervisor = "south"
name = "line"
max_in_action = 2

[[workers]]
supervisor = "north"
id = "a"
type = "process"
node = "n1"
depends_on = ["broker"]
config = { command = ["x"] }

[[workers]]
supervisor = "south"
id = "b"
type = "process"
node = "s1"
group = "line"
config = { command = ["x"] }
"""


def test_a_file_may_describe_several_supervisors_each_with_its_own(tmp_path: Path) -> None:
    north, south = read_fleets(written(tmp_path, SITES), TYPES)
    assert (north.settings.name, north.nodes, north.settings.groups) == ("north", ("n1",), {})
    assert (south.settings.name, south.nodes, south.settings.groups) == ("south", ("s1",), {"line": 2})
    assert [(child.name, child.check.address) for child in north.children] == [("broker", "h:1")]
    assert [(child.name, child.check.address) for child in south.children] == [("broker", "h:2")]
    assert ([worker.id for worker in north.workers], [worker.id for worker in south.workers]) == (["a"], ["b"])
    assert south.settings.tick_interval == 2.0


def test_with_one_supervisor_its_name_may_be_said(tmp_path: Path) -> None:
    fleet = read_fleet(written(tmp_path, TOP + WORKER + CONFIG + 'supervisor = "p"\n'), TYPES)
    assert [worker.id for worker in fleet.workers] == ["a"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", '[supervisor]\nname = "p"\n', "has both; expected one [supervisor] table, or [[supervisors]] tables"),
        (
            'supervisor = "south"\nid = "b"',
            'id = "b"',
            "[[workers]] number 2 (id 'b'), key supervisor: value None: expected one of north, south, the supervisors "
            "of this file",
        ),
        (
            'supervisor = "south"\nname = "broker"',
            'supervisor = "east"\nname = "broker"',
            "[[children]] number 2 (name 'broker'), key supervisor: value 'east': expected one of north, south, the "
            "supervisors of this file",
        ),
        (
            'name = "south"',
            'name = "north"',
            "[[supervisors]] number 2 (name 'north'), key name: value 'north': expected a name of its own; number 1 "
            "has it already",
        ),
        (
            'id = "b"',
            'id = "a"',
            "[[workers]] number 2 (id 'a'), key id: value 'a': expected a name of its own; number 1 has it already",
        ),
        (
            'id = "b"',
            'id = "b"\ndepends_on = ["a"]',
            "[[workers]] number 2 (id 'b'), key depends_on: value 'a': expected a child or worker beside it: one of b, "
            "broker",
        ),
        (
            'supervisor = "south"\nname = "line"',
            'supervisor = "north"\nname = "line"',
            "[[workers]] number 2 (id 'b'), key group: value 'line': unknown group; expected a name of the [[groups]] "
            "of this file",
        ),
        (
            'tick_interval = "2s"',
            'tick_interval = "1ms"',
            "[[supervisors]] number 2 (name 'south'), key tick_interval: value '1ms': expected at least 50ms",
        ),
        (
            'node = "n1"\ncheck',
            'node = "s1"\ncheck',
            "[[children]] number 1 (name 'broker'), key node: value 's1': unknown node; expected one of n1 (or add it "
            "to the supervisor's nodes)",
        ),
    ],
)
def test_what_several_supervisors_cannot_have_is_refused_with_its_place(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = SITES.replace(old, new, 1) if old else new + SITES
    path = written(tmp_path, text)
    with pytest.raises(FleetError) as caught:
        read_fleets(path, TYPES)
    assert str(caught.value) == f"{path}: {message}"


RULE = """
[[rules]]
name = "no-output"
child = "b"
worker_type = "dfc_read"
observed = { output_connected = false }
"""


def test_a_consistency_rule_is_read(tmp_path: Path) -> None:
    settings = read_fleet(written(tmp_path, TOP + CHILD + CHECK + RULE), TYPES).settings
    assert settings.rules == (
        DeclaredRule(
            name="no-output", child="b", worker_type="dfc_read", observed={"output_connected": False}, lasts=30.0
        ),
    )


def test_a_consistency_rule_may_be_of_a_child_that_has_failed(tmp_path: Path) -> None:
    rule = RULE.replace("worker_type", 'child_is = "failed"\nworker_type')
    (read,) = read_fleet(written(tmp_path, TOP + CHILD + CHECK + rule), TYPES).settings.rules
    assert read.child_is == "failed"
    path = written(tmp_path, TOP + CHILD + CHECK + rule.replace('"failed"', '"down"'))
    with pytest.raises(FleetError, match="key child_is: value 'down': expected one of ok, failed"):
        read_fleet(path, TYPES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('child = "b"', 'child = "c"', "key child: value 'c': expected a child beside it: one of b"),
        (
            '"dfc_read"',
            '"flow"',
            "key worker_type: value 'flow': unknown worker type; expected one of "
            "benthos, command, dfc_read, dfc_write, http_service, mqtt, opcua, process, tcp_service",
        ),
        (
            "output_connected = false",
            "output = false",
            "key observed.output: value False: a dfc_read has no such observation; expected one of away, benthos, "
            "config_id, errors, http_error, input_connected, messages_in, messages_in_per_second, messages_out, "
            "messages_out_per_second, "
            "output_connected, pid, ready, running, start_ticks, started_at",
        ),
        (
            "output_connected = false",
            'output_connected = "no"',
            "key observed.output_connected: value 'no': expected `bool`, got `str`",
        ),
    ],
)
def test_a_rule_that_could_find_nothing_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, TOP + CHILD + CHECK + RULE.replace(old, new))
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value) == f"{path}: [[rules]] number 1 (name 'no-output'), {message}"


def test_a_rule_without_anything_observed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TOP + CHILD + CHECK + RULE.replace("output_connected = false", ""))
    with pytest.raises(
        FleetError, match=r"key observed: value \{\}: expected one of away, benthos, config_id, errors, "
    ):
        read_fleet(path, TYPES)


OF_KIND = {
    "kafka": ('{ kind = "kafka", address = "h:9092" }', Check(kind="kafka", address="h:9092")),
    "http": (
        '{ kind = "http", address = "h:443", path = "/", status = [200, 207], body = "ok", tls = true, ca = "ca.pem" }',
        Check(kind="http", address="h:443", path="/", status=(200, 207), body="ok", tls=True, ca="CWD/ca.pem"),
    ),
    "one status": (
        '{ kind = "http", address = "h:80", status = 204 }',
        Check(kind="http", address="h:80", status=(204,)),
    ),
    "command": (
        '{ kind = "command", command = ["pg_isready"], timeout = "3s" }',
        Check(kind="command", command=("pg_isready",), timeout=3.0),
    ),
    "freshness": (
        '{ kind = "freshness", file = "beat", max_age = "1m" }',
        Check(kind="freshness", file="CWD/beat", max_age=60.0),
    ),
    "redpanda": (
        '{ kind = "redpanda", admin = "https://h:9644", brokers = ["h:9092", "i:9092"], nodes = 2, leaderless = 4, '
        'under_replicated = 9, tls = true, ca = "ca.pem" }',
        Check(
            kind="redpanda",
            admin="https://h:9644",
            brokers=("h:9092", "i:9092"),
            nodes=2,
            leaderless=4,
            under_replicated=9,
            tls=True,
            ca="CWD/ca.pem",
        ),
    ),
    "redpanda with a login": (
        '{ kind = "redpanda", brokers = ["h:9092"], sasl = "SCRAM-SHA-512", username = "fsm", password_file = "pw" }',
        Check(kind="redpanda", brokers=("h:9092",), sasl="SCRAM-SHA-512", username="fsm", password_file="CWD/pw"),
    ),
    "kafka with a login": (
        '{ kind = "kafka", address = "h:9092", tls = true, sasl = "PLAIN", username = "fsm", password_file = "pw" }',
        Check(kind="kafka", address="h:9092", tls=True, sasl="PLAIN", username="fsm", password_file="CWD/pw"),
    ),
    "process": (
        '{ kind = "process", failures = 2, successes = 3 }',
        Check(kind="process", failures=2, successes=3),
    ),
}


@pytest.mark.parametrize(("text", "check"), OF_KIND.values(), ids=OF_KIND.keys())
def test_a_check_may_be_of_another_kind_than_its_childs_type_has(text: str, check: Check, tmp_path: Path) -> None:
    (child,) = read_fleet(written(tmp_path, TOP + CHILD + f"check = {text}\n"), TYPES).children
    paths = {key: getattr(check, key).replace("CWD", str(tmp_path)) for key in ("ca", "file", "password_file")}
    assert child.check == msgspec.structs.replace(check, **paths)


@pytest.mark.parametrize(("kind", "path"), [("redpanda", "/v1/status/ready"), ("benthos", "/ping"), ("http", "/")])
def test_a_childs_type_says_where_it_is_asked(kind: str, path: str, tmp_path: Path) -> None:
    (child,) = read_fleet(written(tmp_path, TOP + CHILD.replace('"redis"', f'"{kind}"') + CHECK), TYPES).children
    assert (child.check.kind, child.check.path, child.check.status) == ("http", path, (200,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{ kind = "kafka", address = "h:1", path = "/x" }',
            "key check.path: value '/x': a check of kind kafka has no such key; expected one of address, tls, ca, "
            "sasl, username, password_file, timeout, failures, successes",
        ),
        (
            '{ kind = "freshness", file = "beat", address = "h:1" }',
            "key check.address: value 'h:1': a check of kind freshness has no such key; expected one of file, max_age, "
            "timeout, failures, successes",
        ),
        (
            '{ kind = "command" }',
            "key check.command: value None: expected the command that a check of kind command asks",
        ),
        ('{ kind = "freshness" }', "key check.file: value None: expected the file that a check of kind freshness asks"),
        (
            '{ kind = "http", address = "h:1", body = "(" }',
            "key check.body: value '(': expected a regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
        (
            '{ kind = "ping", address = "h:1" }',
            "key check.kind: value 'ping': expected one of tcp, redis, http, kafka, process, command, freshness, "
            "redpanda",
        ),
        (
            '{ kind = "redpanda", nodes = 3 }',
            'key check.admin: value None: expected the URL of its admin API ("http://HOST:9644"), or Kafka brokers '
            '["HOST:9092"], or both',
        ),
        (
            '{ kind = "redpanda", address = "h:9644" }',
            "key check.address: value 'h:9644': a check of kind redpanda has no such key; expected one of admin, "
            "brokers, nodes, leaderless, under_replicated, tls, ca, sasl, username, password_file, timeout, failures, "
            "successes",
        ),
        (
            '{ kind = "kafka", address = "h:9092", brokers = ["h:9092"] }',
            "key check.brokers: value ['h:9092']: a check of kind kafka has no such key; expected one of address, "
            "tls, ca, sasl, username, password_file, timeout, failures, successes",
        ),
        (
            '{ kind = "kafka", address = "h:9092", sasl = "GSSAPI" }',
            "key check.sasl: value 'GSSAPI': expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
        ),
        (
            '{ kind = "kafka", address = "h:9092", sasl = "PLAIN", username = "fsm" }',
            "key check.password_file: value None: expected it beside sasl: sasl, username and password_file make a "
            "login",
        ),
        (
            '{ kind = "kafka", address = "h:9092", username = "fsm", password_file = "pw" }',
            "key check.username: value 'fsm': expected sasl beside it: one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
        ),
        (
            '{ kind = "redpanda", admin = "http://h:9644", sasl = "PLAIN", username = "fsm", password_file = "pw" }',
            "key check.sasl: value 'PLAIN': expected the Kafka brokers beside it that want a login; the admin API is "
            "asked without one",
        ),
        (
            '{ kind = "redpanda", admin = "h:9644" }',
            "key check.admin: value 'h:9644': expected the URL of an admin API, as \"http://HOST:9644\"",
        ),
        (
            '{ kind = "redpanda", brokers = ["h"] }',
            "key check.brokers.0: value 'h': expected an address \"HOST:PORT\" with a port from 1 to 65535",
        ),
    ],
)
def test_a_check_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, TOP + CHILD + f"check = {text}\n")
    with pytest.raises(FleetError) as caught:
        read_fleet(path, TYPES)
    assert str(caught.value) == f"{path}: [[children]] number 1 (name 'b'), {message}"


def test_a_worker_may_be_run_by_another_manager_whatever_its_type(tmp_path: Path) -> None:
    text = TOP + WORKER + 'config = { driver = "systemd", unit = "flow@a.service" }\n'
    (worker,) = read_fleet(written(tmp_path, text), TYPES).workers
    stored = worker.desired.config
    assert (stored["driver"], stored["unit"], stored["cwd"]) == ("systemd", "flow@a.service", ".")
    assert msgspec.convert(stored, ProcessConfig, dec_hook=lambda to, value: to(value)).is_ours is False
    flow = WORKER.replace('type = "process"', 'type = "benthos"')
    text = TOP + flow + 'config = { driver = "docker", container = "flow", http = "127.0.0.1:4195" }\n'
    (worker,) = read_fleet(written(tmp_path, text), TYPES).workers
    assert (worker.desired.config["container"], worker.desired.config["http"]) == ("flow", "127.0.0.1:4195")


def test_the_fleet_of_the_how_to_about_units_and_containers_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/howto/supervise-systemd-units-and-containers.md"
    text = page.read_text().partition("```toml\n")[2].partition("```")[0]
    (fleet,) = read_fleets(written(tmp_path, text), TYPES)
    assert [(child.unit, child.container) for child in fleet.children] == [("redpanda.service", ""), ("", "timescale")]
    assert [worker.desired.config["driver"] for worker in fleet.workers] == ["systemd", "docker"]


def test_a_child_may_be_kept_by_systemd_or_docker(tmp_path: Path) -> None:
    (child,) = read_fleet(
        written(tmp_path, TOP + CHILD.replace("redis", "process") + 'unit = "b.service"\n'), TYPES
    ).children
    assert (child.unit, child.check.kind, child.has_manager, child.can_restart) == ("b.service", "process", True, True)
    text = TOP + CHILD + CHECK + 'container = "b"\nengine = "unix:///run/other.sock"\n'
    (child,) = read_fleet(written(tmp_path, text), TYPES).children
    assert (child.container, child.engine, child.can_restart) == ("b", "unix:///run/other.sock", True)


def test_a_child_is_restarted_in_one_way(tmp_path: Path) -> None:
    text = TOP + CHILD + CHECK + 'service = "/run/service/b"\n'
    (child,) = read_fleet(written(tmp_path, text), TYPES).children
    assert (child.service, child.process) == ("/run/service/b", None)
    hooked = (
        TOP + CHILD + CHECK + 'restart = ["systemctl", "restart", "b"]\npid_file = "/run/b.pid"\nenv = { A = "b" }\n'
    )
    (child,) = read_fleet(written(tmp_path, hooked), TYPES).children
    assert (child.restart, child.pid_file, child.env) == (("systemctl", "restart", "b"), "/run/b.pid", {"A": "b"})
    assert child.cwd == str(tmp_path)
    path = written(tmp_path, text + 'command = ["b"]\n')
    with pytest.raises(
        FleetError, match=r"key service: value '/run/service/b': expected one way to restart it, and comm"
    ):
        read_fleet(path, TYPES)


PARENT = (
    SITES
    + """
[[supervisors]]
name = "plant"
escalation_command = ["call", "me"]

[[children]]
supervisor = "plant"
name = "north"
type = "supervisor"
"""
)


def test_a_supervisor_may_have_others_as_children(tmp_path: Path) -> None:
    *_, plant = read_fleets(written(tmp_path, PARENT), TYPES)
    (child,) = plant.children
    assert (child.name, child.type, child.node) == ("north", "supervisor", "")
    assert (plant.nodes, plant.settings.escalation_command) == ((), ("call", "me"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'type = "supervisor"',
            'type = "supervisor"\nnode = "n1"',
            "[[children]] number 3 (name 'north'), key node: value 'n1': a child of type supervisor has no such key: "
            "it looks after itself",
        ),
        (
            'name = "north"\ntype = "supervisor"',
            'name = "plant"\ntype = "supervisor"',
            "[[children]] number 3 (name 'plant'), key name: value 'plant': expected another supervisor than its own",
        ),
        (
            'type = "supervisor"',
            'type = "supervisor"\n[[children]]\nsupervisor = "north"\nname = "plant"\ntype = "supervisor"',
            "supervisors are each other's children: north -> plant -> north; expected an order",
        ),
    ],
)
def test_a_supervisor_that_cannot_be_a_child_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, PARENT.replace(old, new))
    with pytest.raises(FleetError) as caught:
        read_fleets(path, TYPES)
    assert str(caught.value) == f"{path}: {message}"


def test_metrics_are_labelled_with_the_workers_id_unless_the_file_says_type(tmp_path: Path) -> None:
    assert read_fleet(written(tmp_path, TOP), TYPES).settings.worker_label == "worker_id"
    by_type = TOP + '[metrics]\nworker_label = "worker_type"\n'
    assert read_fleet(written(tmp_path, by_type), TYPES).settings.worker_label == "worker_type"


def test_labels_are_part_of_what_is_desired_and_restart_nothing(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    made = []
    for more in ("", 'labels = { line = "1", "acme.com-site" = "north" }\n'):
        path.write_text(TOP + WORKER + more + CONFIG)
        (fleet,) = read_fleets(path, built_in())
        made.append(fleet.workers[0].desired)
    assert [desired.labels for desired in made] == [{}, {"line": "1", "acme.com-site": "north"}]
    assert made[0].config_id == made[1].config_id


def test_a_stream_is_read_from_its_own_file_as_text(tmp_path: Path) -> None:
    flow = '[[workers]]\nid = "a"\ntype = "dfc_write"\nnode = "edge-1"\n'
    config = 'config = { stream_file = "a.yaml", benthos = "127.0.0.1:4195" }\n'
    path = written(tmp_path, TOP + flow + config)
    with pytest.raises(FleetError, match=r"a\.yaml, a stream_file, cannot be read: .*No such file"):
        read_fleet(path, TYPES)
    (tmp_path / "a.yaml").write_text("input: {}\n")
    (worker,) = read_fleet(path, TYPES).workers
    assert worker.desired.config["stream"] == "input: {}\n"
    assert "stream_file" not in worker.desired.config
