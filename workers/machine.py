"""A state machine kept as one table: (state, condition) → next state or action. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actions.model import Action
from workers.model import Phase, Signal, Transition

Entry = str | Action


class IllegalTransition(Exception):
    """The table has no entry for a state under a condition; nothing was changed."""


@dataclass(frozen=True)
class Machine:
    """The states of a worker type with their phases, and its table.

    An entry that names its own state means: stay. An entry that is an action means: stay and request that action.
    """

    initial: str
    phases: Mapping[str, Phase]
    table: Mapping[tuple[str, str], Entry]

    def __post_init__(self) -> None:
        """Refuse a table that speaks of states without a phase."""
        named = {state for state, _ in self.table} | {entry for entry in self.table.values() if isinstance(entry, str)}
        unknown = sorted((named | {self.initial}) - set(self.phases))
        if unknown:
            raise ValueError(f"states without a phase: {', '.join(unknown)}")

    def step(self, state: str, condition: str, reason: str, signal: Signal = Signal.NONE) -> Transition:
        """Return what the table says for `state` under `condition`. Raises `IllegalTransition`."""
        entry = self.table.get((state, condition))
        if entry is None:
            raise IllegalTransition(f"state {state!r} has no entry for condition {condition!r} ({reason})")
        if isinstance(entry, str):
            return Transition(state=entry, reason=reason, signal=signal)
        return Transition(action=entry, reason=reason, signal=signal)

    def mermaid(self) -> str:
        """Return the machine as a mermaid state diagram, the same text for the same table."""
        return "\n".join(["stateDiagram-v2", *self._diagram_lines()]) + "\n"

    def _diagram_lines(self) -> Iterator[str]:
        yield f"    [*] --> {self.initial}"
        for state, phase in self.phases.items():
            yield f"    {state}: {state} ({phase})"
        for (state, condition), entry in self.table.items():
            if isinstance(entry, Action):
                yield f"    {state} --> {state}: {condition} / {entry.name}"
            elif entry != state:
                yield f"    {state} --> {entry}: {condition}"
