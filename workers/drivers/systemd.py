"""The systemd driver: a unit that exists, started and stopped by `systemctl`, and looked at by `systemctl show`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from actions.model import ActionError, Incarnation
from workers.drivers.kept import note_stop, stopped_by_us
from workers.drivers.minding import ask, ask_async, complaint, fenced, request
from workers.drivers.process import Look, environment

_SHOW_TIMEOUT = 3.0  # seconds for a look, which the collector cuts off after 6
_LIFE_DIGITS = 13  # of an invocation id's 32: what a number carries exactly through JSON
_KILLED, _DUMPED = 2, 3  # of ExecMainCode, which is waitid's si_code
_WAITS = ("auto-restart", "auto-restart-queued")  # substates in which nothing runs, though systemd will start it again
_LOAD_STATES = {
    "not-found": "there is no such unit on this host: expected one that `systemctl list-unit-files` shows; "
    "`systemctl daemon-reload` reads a new file",
    "masked": "it is masked: `systemctl unmask` allows it to be started",
}


class Shown(msgspec.Struct, frozen=True, rename="pascal"):
    """What `systemctl show` says of a unit. Timestamps in microseconds of CLOCK_MONOTONIC, 0: never.

    `exec_main_…` is of the main process that runs or, when nothing does, of the last one, unless systemd has forgotten
    it: as it does with all of a unit that has ended well.
    """

    load_state: str
    active_state: str
    sub_state: str
    result: str
    invocation_id: str = msgspec.field(name="InvocationID")
    main_pid: int = msgspec.field(name="MainPID")
    exec_main_pid: int = msgspec.field(name="ExecMainPID")
    exec_main_code: int
    exec_main_status: int
    exec_main_start_timestamp_monotonic: int
    exec_main_exit_timestamp_monotonic: int
    active_enter_timestamp_monotonic: int

    @property
    def life(self) -> int:
        """Return a number that is of this start of the unit alone; 0 of one that was never started."""
        return int(self.invocation_id[:_LIFE_DIGITS] or "0", 16)

    @property
    def runs(self) -> bool:
        """Tell whether anything of it runs."""
        if self.active_state == "activating":
            return self.sub_state not in _WAITS
        return self.active_state in ("active", "reloading", "refreshing", "deactivating")

    @property
    def words(self) -> str:
        """Say how it is, as systemctl would."""
        return f"{self.active_state} ({self.sub_state}), result {self.result}"


_PROPERTIES = tuple(field.encode_name for field in msgspec.structs.fields(Shown))


@dataclass(frozen=True)
class SystemdComponent:
    """A unit of this host's systemd; implements `actions.model.Component`. `id` is for the messages."""

    id: str
    folder: Path
    unit: str
    config_id: str = ""

    def current(self) -> Incarnation | None:
        """Return what runs by systemd's word, or None. Raises `ActionError` when it cannot tell."""
        return self._looked(self._show()).incarnation

    async def look(self) -> Look:
        """Return what runs, and how the last life ended if that is still known. Raises `ActionError`."""
        return self._looked(self._shown(await ask_async(self._request(*self._of_show(), timeout=_SHOW_TIMEOUT))))

    def start(self, token: int) -> Incarnation:
        """Start the unit unless it runs, and see that it does then. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token) as lock:
            seen = self._show()
            if not seen.runs:
                if seen.active_state == "failed":  # else its start limit would refuse the start that is to mend it
                    self._run("reset-failed", token, lock)
                self._run("start", token, lock)
                seen = self._show()
            running = self._looked(seen).incarnation
            if running is None:
                raise self._error(f"is {seen.words} after systemctl start", f"see `journalctl -u {self.unit}`")
            return running

    def stop(self, token: int) -> None:
        """Stop the unit unless nothing runs, and see that nothing does then. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token) as lock:
            seen = self._show()
            if not seen.runs and seen.sub_state not in _WAITS:
                return
            note_stop(self.folder, seen.life)
            self._run("stop", token, lock)
            seen = self._show()
            if seen.runs:
                raise self._error(f"is {seen.words} after systemctl stop", f"see `systemctl status {self.unit}`")

    def _run(self, verb: str, token: int, lock: int) -> None:
        log = self.folder / "output.log"
        answer = ask(self._request(verb, log=log, title=f"systemctl {verb} {self.unit}, token {token}"), lock)
        if answer.get("code") != 0:
            raise self._error(complaint(f"systemctl {verb}", answer), f"see `systemctl status {self.unit}`")

    def _show(self) -> Shown:
        return self._shown(ask(self._request(*self._of_show(), timeout=_SHOW_TIMEOUT)))

    def _of_show(self) -> tuple[str, str]:
        return "show", f"--property={','.join(_PROPERTIES)}"

    def _request(self, verb: str, *options: str, timeout: float | None = None, **log: Any) -> bytes:
        command = ("systemctl", "--no-ask-password", "--no-pager", verb, *options, "--", self.unit)
        return request(command, "/", environment({"LC_ALL": "C"}), timeout, **log)

    def _shown(self, answer: Mapping[str, Any]) -> Shown:
        """Return what `systemctl show` has printed. Raises `ActionError` when that says nothing."""
        if answer.get("code") != 0:
            told = complaint("systemctl show", answer)
            raise self._error(told, "expected systemctl, and a systemd that runs this host")
        lines = (line.partition("=") for line in answer["output"].splitlines())
        try:
            shown = msgspec.convert({name: value for name, _, value in lines}, Shown, strict=False)
        except msgspec.ValidationError as error:
            raise self._error(
                f"systemctl show said what cannot be read: {error}", "expected systemd 240 or newer"
            ) from None
        if shown.load_state in ("loaded", "merged"):
            return shown
        why = f"systemd has not loaded it: expected a unit file without a mistake; see `systemctl status {self.unit}`"
        raise self._error(f"LoadState is {shown.load_state}", _LOAD_STATES.get(shown.load_state, why))

    def _looked(self, seen: Shown) -> Look:
        clock = time.clock_gettime(time.CLOCK_MONOTONIC)
        began = seen.exec_main_start_timestamp_monotonic or seen.active_enter_timestamp_monotonic
        if seen.runs:
            age = clock - began / 1e6 if began else 0.0
            return Look(seen.main_pid, seen.life, self.config_id, max(0.0, age))
        if not seen.exec_main_exit_timestamp_monotonic:
            return Look()
        by_signal = seen.exec_main_code in (_KILLED, _DUMPED)
        return Look(
            ended={
                "pid": seen.exec_main_pid,
                "start_ticks": seen.life,
                "started_ago": max(0.0, clock - began / 1e6),
                "ended_ago": max(0.0, clock - seen.exec_main_exit_timestamp_monotonic / 1e6),
                "code": None if by_signal else seen.exec_main_status,
                "signal": seen.exec_main_status if by_signal else 0,
                "requested": stopped_by_us(self.folder, seen.life),
                "reason": f"systemd's result: {seen.result}",
            }
        )

    def _error(self, what: str, todo: str) -> ActionError:
        return ActionError(f"unit {self.unit}: {what}; {todo}")
