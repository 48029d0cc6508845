"""The golden helpers themselves."""

from __future__ import annotations

import pytest

from tests.golden import golden, shape
from tests.golden.conftest import Run


def test_a_shape_is_keys_and_types_with_what_may_be_missing_or_null() -> None:
    rows = [{"id": "a", "age": 1.5, "action": None}, {"id": "b", "age": None, "action": {"name": "start"}}, {"id": "c"}]
    assert shape(rows) == [{"id": "string", "age?": "null|number", "action?": {"name": "string", "or null": True}}]
    assert shape({"all": [], "ok": True, "none": None}) == {"all": [], "ok": "boolean", "none": "null"}


def test_a_text_that_differs_is_shown_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOLDEN", raising=False)
    with pytest.raises(AssertionError, match=r"(?s)-ID +NAME.*\+something else"):
        golden("sample.txt", "something else\n")


def test_the_plant_is_the_same_each_time(run: Run) -> None:
    first = run("get", "workers", "-o", "json")
    assert (first.exit_code, first.stderr) == (0, "")
    assert run("get", "workers", "-o", "json") == first
    assert run("events", "-o", "json") == run("events", "-o", "json")


def test_an_error_is_text_and_exit_code(run: Run) -> None:
    assert run("describe", "worker", "nothing-like-it").exit_code == 4
