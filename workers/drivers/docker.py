"""The Docker driver: a container that exists, by its engine's SDK, which is an extra and imported when it is used."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actions.model import ActionError, Incarnation
from workers.drivers.kept import note_stop, stopped_by_us
from workers.drivers.minding import fenced
from workers.drivers.process import Look

if TYPE_CHECKING:
    from docker import APIClient

USUAL_ENGINE = "unix:///var/run/docker.sock"
_ANSWER_TIMEOUT = 4.0  # seconds for an answer of the engine, beyond the stop_timeout of a stop; a look has 6
_NEVER = "0001-01-01"  # the day that Docker names for what never was
_SIGNALLED = 128  # an exit code above it is a signal, as of a shell


@dataclass(frozen=True)
class DockerComponent:
    """A container of this host's engine; implements `actions.model.Component`. `id` is for the messages.

    `engine` is its socket, "" the usual one. `stop_timeout` (seconds) is how long it has after its stop signal.
    """

    id: str
    folder: Path
    container: str
    engine: str = ""
    config_id: str = ""
    stop_timeout: float = 10.0

    def current(self) -> Incarnation | None:
        """Return what runs by the engine's word, or None. Raises `ActionError` when it cannot tell."""
        return self._look().incarnation

    async def look(self) -> Look:
        """Return what runs, and how the last life ended. Raises `ActionError`."""
        return await asyncio.to_thread(self._look)

    def start(self, token: int) -> Incarnation:
        """Start the container unless it runs, and see that it does then. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token), self._asking() as engine:
            state = self._state(engine)
            if not _runs(state):
                engine.start(self.container)
                state = self._state(engine)
            running = self._looked(state).incarnation
            if running is None:
                how = f"is {state['Status']} (exit code {state['ExitCode']}) after its start"
                raise self._error(how, f"see `docker logs {self.container}`")
            return running

    def stop(self, token: int) -> None:
        """Stop the container unless nothing runs, and see that nothing does. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token), self._asking() as engine:
            state = self._state(engine)
            if not state["Running"]:
                return
            note_stop(self.folder, _life(state))
            engine.stop(self.container, timeout=math.ceil(self.stop_timeout))
            state = self._state(engine)
            if state["Running"]:
                raise self._error(f"is {state['Status']} after its stop", f"see `docker inspect {self.container}`")

    def _look(self) -> Look:
        with self._asking() as engine:
            return self._looked(self._state(engine))

    def _state(self, engine: APIClient) -> dict[str, Any]:
        """Return `State` of `docker inspect`."""
        state: dict[str, Any] = engine.inspect_container(self.container)["State"]
        return state

    @contextmanager
    def _asking(self) -> Iterator[APIClient]:
        """Open the engine, and put into words what goes wrong with it. Raises `ActionError`."""
        try:
            import docker
            from docker.errors import APIError, DockerException, NotFound
        except ImportError:
            raise self._error("the Docker SDK is not installed", "`pip install fsm-supervisor[docker]` does") from None
        address = self.engine or USUAL_ENGINE
        try:
            with closing(docker.APIClient(base_url=address, version="auto", timeout=_ANSWER_TIMEOUT)) as engine:
                yield engine
        except NotFound as error:
            todo = f"expected one that exists at {address}: `docker ps -a` lists them, `docker create` makes one"
            raise self._error(f"the engine says: {error.explanation}", todo) from None
        except APIError as error:
            raise self._error(
                f"the engine says: {error.explanation}", f"see `docker inspect {self.container}`"
            ) from None
        except (DockerException, OSError) as error:  # what the SDK lets through of requests is an OSError
            todo = "expected an engine that runs there, and an executor that may open its socket"
            raise self._error(f"the Docker engine at {address} does not answer: {error}", todo) from None

    def _looked(self, state: dict[str, Any]) -> Look:
        now, began = time.time(), _epoch(state["StartedAt"])
        if _runs(state):
            return Look(state["Pid"], _life(state), self.config_id, max(0.0, now - began))
        if not began:
            return Look()  # created, and never started
        ended = _epoch(state["FinishedAt"]) or now
        return Look(
            ended={
                "pid": 0,  # it does not tell that any more
                "start_ticks": _life(state),
                "started_ago": max(0.0, now - began),
                "ended_ago": max(0.0, now - ended),
                "code": state["ExitCode"],
                "signal": 0,
                "requested": stopped_by_us(self.folder, _life(state)),
                **_reason(state),
            }
        )

    def _error(self, what: str, todo: str) -> ActionError:
        return ActionError(f"container {self.container}: {what}; {todo}")


def _runs(state: dict[str, Any]) -> bool:
    """Tell whether anything of it runs; while it waits to be started again by its restart policy nothing does."""
    return bool(state["Running"]) and not state["Restarting"]


def _epoch(moment: str) -> float:
    """Return a moment as Docker writes it in epoch seconds; 0.0: it never was."""
    return 0.0 if moment.startswith(_NEVER) else datetime.fromisoformat(moment).timestamp()


def _life(state: dict[str, Any]) -> int:
    """Return a number that is of this start of the container alone: its microsecond."""
    return round(_epoch(state["StartedAt"]) * 1e6)


def _reason(state: dict[str, Any]) -> dict[str, str]:
    """Return what the engine says of an end beside its exit code."""
    code = state["ExitCode"]
    told = "out of memory" if state["OOMKilled"] else state["Error"]
    if not told and code > _SIGNALLED:
        told = f"as by signal {code - _SIGNALLED}"
    return {"reason": told} if told else {}
