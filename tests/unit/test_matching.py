"""What an argument names."""

from __future__ import annotations

import pytest

from supervisor.cli.matching import listed, pick, split
from supervisor.errors import NotFound, UsageError

KNOWN = ("line-1", "line-1-flow", "line-2-flow", "uplink")
KINDS = {"worker": "workers", "workers": "workers", "node": "nodes", "nodes": "nodes"}


@pytest.mark.parametrize(("text", "item"), [("line-1", "line-1"), ("line-1-", "line-1-flow"), ("u", "uplink")])
def test_a_name_is_taken_whole_or_by_a_beginning_that_it_alone_has(text: str, item: str) -> None:
    assert pick("worker", text, KNOWN) == item


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("line", UsageError, "'line' is the beginning of several: line-1, line-1-flow, line-2-flow; give more of it"),
        ("line-3-flow", NotFound, "no worker 'line-3-flow'; did you mean line-"),
        ("x", NotFound, "no worker 'x'; there are line-1, line-1-flow, line-2-flow, uplink"),
        ("", NotFound, "no worker ''; there are line-1"),
    ],
)
def test_what_names_none_or_several_is_an_error_with_the_candidates(text: str, error: type, words: str) -> None:
    with pytest.raises(error) as raised:
        pick("worker", text, KNOWN)
    assert words in str(raised.value)


def test_of_many_names_an_error_lists_the_first_few() -> None:
    assert listed([f"w{number}" for number in range(10)]) == "w0, w1, w2, w3, w4, w5, w6, w7 and 2 more"
    assert listed([]) == "none"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["workers"], ("workers", [])),
        (["worker", "a", "worker/b"], ("workers", ["a", "b"])),
        (["worker/a", "b"], ("workers", ["a", "b"])),
        (["node/edge-1"], ("nodes", ["edge-1"])),
    ],
)
def test_kind_and_name_are_two_words_or_one(words: list[str], said: tuple[str, list[str]]) -> None:
    assert split(words, KINDS) == said


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["flows"], "'flows' is no kind: expected one of workers, nodes"),
        (["worke"], "did you mean worker"),
        (["worker/a", "node/b"], "'node/b' is none of the workers: ask for one kind at a time"),
    ],
)
def test_what_is_no_kind_or_two_kinds_is_refused(words: list[str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        split(words, KINDS)
