"""Writes what JSON can say as YAML: blocks, and texts in quotes wherever a reader might take them for something else.

JSON's quoting is YAML's too, so this is all that it takes. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@+-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}  # what some YAML takes for a value
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def dump(data: object) -> str:
    """Return the document, a line at the end."""
    return "\n".join(_block(data, "")) + "\n"


def _block(value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a value that begins a line."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _entry(f"{indent}{scalar(str(key))}:", one, f"{indent}  ")
    elif isinstance(value, list | tuple) and value:
        for one in value:
            first, *others = _block(one, f"{indent}  ")
            yield f"{indent}- {first.removeprefix(f'{indent}  ')}"
            yield from others
    else:
        yield indent + scalar(value)


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict | list | tuple) and value:
        yield key
        yield from _block(value, indent)
    else:
        yield f"{key} {scalar(value)}"


def scalar(value: object) -> str:
    """Return a text, number, truth value, null, or an empty list or map."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    text = json.dumps(value)
    return text.replace("e", ".0e", 1) if isinstance(value, float) and "e" in text and "." not in text else text
