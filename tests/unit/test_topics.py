"""The topics that a child of a fleet file is to have."""

from __future__ import annotations

from pathlib import Path

import pytest

from actions.create_topics import Topic
from supervisor.fleet import read_fleets
from supervisor.fleetfile import FleetError
from tests.factories import TYPES

CHECK = 'check = { kind = "redpanda", brokers = ["h:9092"] }'


def topics(text: str, folder: Path, check: str = CHECK) -> tuple[Topic, ...]:
    path = folder / "fleet.toml"
    path.write_text(
        f'[supervisor]\nname = "p"\n[[children]]\nname = "b"\ntype = "redpanda"\nnode = "n"\n{check}\ntopics = {text}\n'
    )
    (fleet,) = read_fleets(path, TYPES)
    return fleet.children[0].topics


def test_a_topic_is_a_name_a_name_with_partitions_or_a_table(tmp_path: Path) -> None:
    text = """[
        "umh.v1.acme", "b:3",
        { name = "c", partitions = 6, replication = 3, config = { "retention.ms" = "60000" } },
    ]"""
    assert topics(text, tmp_path) == (
        Topic(name="umh.v1.acme"),
        Topic(name="b", partitions=3),
        Topic(name="c", partitions=6, replication=3, config={"retention.ms": "60000"}),
    )


NAME = 'expected a name of 1 to 249 letters, digits, ".", "_" and "-"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["a b"]', f"key topics: value 'a b': {NAME}, alone or as \"NAME:PARTITIONS\""),
        ('["a:0"]', f"key topics: value 'a:0': {NAME}, alone or as \"NAME:PARTITIONS\""),
        ('[".."]', f"key topics: value '..': {NAME}, alone or as \"NAME:PARTITIONS\""),
        ('[{ name = "a:3" }]', f"key topics.name: value 'a:3': {NAME}"),
        ('[{ name = "a", partitions = 0 }]', "key topics.partitions: value 0: expected `int` >= 1"),
        (
            '[{ name = "a", retention = "1d" }]',
            "key topics: unknown key 'retention' (value '1d'); expected one of config, name, partitions, replication",
        ),
        ('["a", "b", "a:3"]', "key topics: value 'a': expected each topic once"),
    ],
)
def test_a_topic_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FleetError) as caught:
        topics(text, tmp_path)
    assert str(caught.value).replace("topics.0", "topics") == (
        f"{tmp_path / 'fleet.toml'}: [[children]] number 1 (name 'b'), {message}"
    )


@pytest.mark.parametrize(
    "check", ['check = { kind = "redpanda", admin = "http://h:9644" }', 'check = { address = "h:9644" }']
)
def test_topics_need_brokers_to_be_asked_of(check: str, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="key topics: value 'a': expected a check of kind redpanda with brokers, whom"):
        topics('["a"]', tmp_path, check)
