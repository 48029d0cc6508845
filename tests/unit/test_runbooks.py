"""What goes with an escalation: the child's own runbook, else its type's."""

from __future__ import annotations

from typing import get_args

import pytest

from supervisor.model import CheckType, Runbook
from supervisor.runbooks import runbook_of
from tests.factories import make_child

OWN = Runbook(url="https://example.com/broker", steps=("Restart NAME by hand",))


def test_a_childs_own_runbook_goes_out_as_it_was_written() -> None:
    assert runbook_of(make_child(runbook=OWN)) == OWN


def test_without_one_the_types_page_and_steps_name_the_child() -> None:
    assert runbook_of(make_child(name="cache")) == Runbook(
        url="docs/runbooks.md#redis",
        steps=(
            "Read its output: fsmctl logs child/cache",
            "See whether its port is taken",
            "Start it by hand",
        ),
    )


def test_what_a_runbook_leaves_out_comes_from_the_type() -> None:
    only_url = runbook_of(make_child(runbook=Runbook(url=OWN.url)))
    assert (only_url.url, only_url.steps) == (OWN.url, runbook_of(make_child()).steps)


@pytest.mark.parametrize("kind", get_args(CheckType))
def test_every_type_of_child_has_steps(kind: str) -> None:
    book = runbook_of(make_child(type=kind))
    assert book.url == f"docs/runbooks.md#{kind}"
    assert len(book.steps) >= 2
