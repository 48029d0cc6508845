"""YAML as fsmctl writes it, read back by another program."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.cli.yamltext import dump

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=12,
)


@settings(deadline=None)  # a busy machine takes its time
@given(JSON)
def test_what_is_written_is_read_back_as_it_was(data: Any) -> None:
    assert yaml.safe_load(dump(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "On",
        "null",
        "~",
        "1.5",
        "1e3",
        "2026-01-01",
        "a: b",
        "# c",
        "- d",
        "",
        " e",
        "=",
        "<<",
        ".inf",
        "0x1f",
        "1:30",
    ],
)
def test_a_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert yaml.safe_load(dump({text: [text]})) == {text: [text]}


def test_it_reads_like_yaml() -> None:
    data = {
        "id": "flow-1",
        "reason": "pid 42 runs",
        "pid": 42,
        "on": None,
        "all": [{"a": 1, "b": []}, [1, "x y"]],
        "none": {},
    }
    assert dump(data) == (
        'id: flow-1\nreason: "pid 42 runs"\npid: 42\n"on": null\n'
        'all:\n  - a: 1\n    b: []\n  - - 1\n    - "x y"\nnone: {}\n'
    )
