"""Golden files: what fsmctl prints, kept whole in `expected/` and compared byte for byte."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

EXPECTED = Path(__file__).parent / "expected"


def golden(name: str, text: str) -> None:
    """See that `text` is what `expected/NAME` holds; with GOLDEN=write in the environment, make it so."""
    path = EXPECTED / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is not there yet; GOLDEN=write pytest … makes it, then look at it"
    kept = path.read_text(encoding="utf-8")
    differs = difflib.unified_diff(kept.splitlines(True), text.splitlines(True), f"expected/{name}", "printed")
    assert text == kept, "".join(differs) + "\n(GOLDEN=write pytest … takes what is printed now)"


def golden_shape(name: str, text: str) -> None:
    """See that a JSON text has the keys and types that `expected/NAME` holds, whatever its values."""
    golden(name, json.dumps(shape(json.loads(text)), indent=2, ensure_ascii=False) + "\n")


def shape(value: Any) -> Any:
    """Return keys and types of a JSON value: a list as the merged shape of its entries, a union as "null|number"."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for one in value:
            merged = shape(one) if merged is None else _merge(merged, shape(one))
        return [] if merged is None else [merged]
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]


def _merge(one: Any, other: Any) -> Any:
    """Return the shape that both fit; a key that not all have ends with "?"."""
    if one == other:
        return one
    if isinstance(one, dict) and isinstance(other, dict):
        return _merge_objects(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return [_merge(one[0], other[0])] if one and other else one or other
    if isinstance(one, str) and isinstance(other, str):
        return "|".join(sorted({*one.split("|"), *other.split("|")}))
    some = other if isinstance(one, str) else one
    assert "null" in (one, other) or (isinstance(some, dict) and "or null" in some), f"{one} and {other} beside another"
    if isinstance(some, dict):
        return {**some, "or null": True}
    return [*some, "or null"] if "or null" not in some else some


def _merge_objects(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    names = [key.removesuffix("?") for key in (*one, *other) if key != "or null"]
    for key in dict.fromkeys(names):
        found = [part[form] for part in (one, other) for form in (key, f"{key}?") if form in part]
        always = key in one and key in other
        merged[key if always else f"{key}?"] = found[0] if len(found) == 1 else _merge(*found)
    return {**merged, "or null": True} if "or null" in one or "or null" in other else merged
