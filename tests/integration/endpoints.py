"""An endpoint and its worker: started by the real driver, asked by the real look, moved by the real table."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec

from actions.model import Action, ActionContext
from supervisor.fleet import config_id
from tests.factories import NOW, make_snapshot
from tests.waiting import wait_until
from workers.endpoint.config import EndpointConfig
from workers.endpoint.states import EndpointObserved
from workers.model import Transition
from workers.registry import built_in
from workers.target import Target

PATIENCE = 4.0  # seconds that an answer may take on a busy host, where a test says nothing else


class Endpoint:
    """A worker of a type, in a folder of its own; `step` is what a collector and a tick do."""

    def __init__(self, folder: Path, kind: str, **config: Any) -> None:
        self.kind = built_in().get(kind)
        self.folder = folder
        self.state, self.reason, self.token = "stopped", "", 0
        self.wish(**config)

    def wish(self, desired: str = "running", **config: Any) -> None:
        """Want it so from now on."""
        whole = {"max_latency": PATIENCE, **config}
        if config.get("command"):
            whole = {"cwd": str(self.folder), **whole}
        typed = msgspec.convert(whole, self.kind.config_type, dec_hook=lambda to, value: to(value))
        self.config_id = config_id(typed)
        self.desired = desired
        self.target = Target("endpoint-1", self.folder / "held", typed, self.config_id)

    def look(self) -> EndpointObserved:
        """Look once."""
        seen = asyncio.run(self.kind.observe(self.target, None, NOW))
        assert isinstance(seen, EndpointObserved)
        return seen

    @property
    def peer(self) -> str:
        """Return who is asked."""
        assert isinstance(self.target.config, EndpointConfig)
        return self.target.config.peer

    def step(self) -> Transition:
        """Look, and follow the table."""
        snapshot = make_snapshot(state=self.state, observed=self.look(), desired=self.desired)
        config = msgspec.to_builtins(self.target.config, enc_hook=float)
        wanted = msgspec.structs.replace(snapshot.desired, config=config, config_id=self.config_id)
        transition = self.kind.derive(msgspec.structs.replace(snapshot, desired=wanted), NOW)
        self.state, self.reason = transition.state or self.state, transition.reason
        if transition.action is not None:
            self.act(transition.action)
        return transition

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to what runs."""
        os.kill(self.look().pid or 0, number)

    def act(self, action: Action) -> str:
        """Carry an action out."""
        self.token += 1
        return action.execute(ActionContext(self.kind.component(self.target), token=self.token))

    def until(self, state: str, reason: str = "") -> str:
        """Step until a state for a reason that has `reason` in it, and once more: it stays. Return the reason."""
        wait_until(lambda: self.step().state == state and reason in self.reason, f"{state}, {reason}", 30)
        assert self.step().state == state, self.reason
        return self.reason

    def end(self) -> None:
        """Stop what runs."""
        self.desired = "stopped"
        self.until("stopped")
