"""The figures of a fault run, as a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.figures import main

CUT = {"fault": "F13", "test": "test_f13[to Redis]", "full": True, "seed": 1, "ways": "to Redis", "lasts": 10.0}


def test_the_last_figure_of_each_length_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [{**CUT, "back": 9.0}, {**CUT, "back": 21.6}, {**CUT, "lasts": 60.0, "back": 4.972}]
    path = tmp_path / "figures.jsonl"
    path.write_text("".join(f"{json.dumps(figure)}\n" for figure in figures))
    main([str(path)])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| F13 | full | seed 1, to Redis, lasts 10, back 21.6 |",
        "| F13 | full | seed 1, to Redis, lasts 60, back 4.972 |",
    ]
