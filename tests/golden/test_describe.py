"""What `fsmctl describe` prints."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.golden import golden, golden_shape
from tests.golden.conftest import Run
from tests.golden.plant import NAME, GoldenPlant

DESCRIBED = (
    "worker/line-1-pressure",
    "worker/line-1-vibration",
    "worker/line-2-flow",
    "worker/line-2-level",
    "worker/line-3-motor",
    "worker/line-4-camera",
    "worker/line-4-scale",
    "worker/site-uplink",
    "child/broker",
    "child/historian",
    "child/mes",
    "node/edge-1",
    "node/edge-2",
    "circuit/plant-1",
    "incident/1",
    "incident/2",
    "action/a2",
    "action/line-2-flow",
)


@pytest.mark.parametrize("what", DESCRIBED)
def test_each_kind_is_described_for_a_person(run: Run, what: str) -> None:
    golden(f"describe-{what.replace('/', '-')}.txt", run("describe", what).text)


@pytest.mark.parametrize(
    "what", ["worker/line-1-pressure", "child/historian", "node/edge-1", "circuit/plant-1", "incident/2", "action/a2"]
)
def test_each_kind_is_data_too(run: Run, what: str) -> None:
    text = run("describe", what, "-o", "json").stdout
    golden_shape(f"describe-{what.partition('/')[0]}.shape.json", text)
    assert yaml.safe_load(run("describe", what, "-o", "yaml").stdout) == json.loads(text)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (("worker", "line-1-pressure"), "worker/line-1-pressure"),
        (("workers", "worker/line-1-p"), "worker/line-1-pressure"),
        (("child", "hist"), "child/historian"),
        (("node/edge-1",), "node/edge-1"),
        (("circuit", "plant"), "circuit/plant-1"),
    ],
)
def test_kind_and_name_are_one_word_or_two_and_a_beginning_is_enough(
    run: Run, words: tuple[str, ...], same: str
) -> None:
    assert run("describe", *words) == run("describe", same)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("worker", "line-1"),
            2,
            "'line-1' is the beginning of several: line-1-pressure, line-1-temperature, line-1-vibr",
        ),
        (("worker", "line-1-presure"), 4, "no worker or child 'line-1-presure'; did you mean line-1-pressure?"),
        (("worker", "broker"), 4, "no worker 'broker'; it is a child: `fsmctl describe child/broker`"),
        (("child", "brokr"), 4, "no worker or child 'child/brokr'; did you mean child/broker?"),
        (("node", "edge-9"), 4, "no node 'edge-9'; did you mean edge-"),
        (("circuit", "plant-9"), 4, "no supervisor 'plant-9'; did you mean plant-1?"),
        (("incident", "9"), 4, "no incident '9'; there are 1, 2"),
        (("action", "zzz"), 4, "no action 'zzz'"),
        (
            ("queue", "actions"),
            2,
            "a queue is not described: expected one of worker, child, node, circuit, incident, action",
        ),
        (("worker",), 2, "expected the name of one worker: worker/NAME, or worker NAME"),
        (("nodes", "edge-1", "edge-2"), 2, "expected the name of one node"),
    ],
)
def test_what_cannot_be_described_is_one_sentence(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    done = run("describe", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


def test_an_action_that_another_has_followed_is_told_by_its_events(run: Run, plant: GoldenPlant) -> None:
    told = {"worker_id": "line-1-pressure", "action": "start", "action_id": "a2"}
    plant.event(
        "edge-1", 0.5, event="action.ended", token="1", outcome="success", detail="pid 9", duration="6.0", **told
    )
    plant.store.client.delete(plant.keys.lease("edge-1", "line-1-pressure"))
    assert run("describe", "action", "a2").stdout.splitlines()[:2] == [
        f"Action       start of line-1-pressure, a2, {NAME}",
        "Outcome      0s  start success in 6.0s: pid 9",
    ]
