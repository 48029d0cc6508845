"""Output travels from a node's folder to who follows it: whole, once, bounded, and at no cost when nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from supervisor.clock import SystemClock
from supervisor.connection import STORE_ERRORS
from supervisor.relay import Follower, Relay
from supervisor.store import Store
from supervisor.targets import folder_of
from tests.integration.plant import NAME, NODE, Plant, settings, worker
from tests.waiting import wait_until

ITEM = "flow-1"


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation with flow-1 on edge-1."""
    from supervisor.runtime import make_runtime

    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker(ITEM))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where edge-1 keeps flow-1."""
    made = folder_of(tmp_path, NAME, NODE, ITEM)
    made.mkdir(parents=True)
    return made


def relay_of(plant: Plant, data_dir: Path) -> Relay:
    return Relay(plant.store, data_dir, NODE, lambda: [NAME], SystemClock())


@pytest.fixture
def relay(plant: Plant, tmp_path: Path) -> Iterator[Relay]:
    """Return a relay of edge-1 that answers."""
    made, stop = relay_of(plant, tmp_path), threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    yield made
    stop.set()
    thread.join()


def follower_of(plant: Plant, lines: int = 100, go_on: bool = True, item: str = ITEM) -> Follower:
    made = Follower(plant.store, NAME, NODE, NODE, item, lines, go_on)
    made.ask()
    return made


def write(folder: Path, text: str) -> None:
    with (folder / "output.log").open("a") as file:
        file.write(text)


def rotate(folder: Path) -> None:
    (folder / "output.log").replace(folder / "output.log.1")


def heard(follower: Follower, enough: Callable[[str], bool]) -> str:
    """Return what is heard until it is enough."""
    text = ""

    def hear() -> bool:
        nonlocal text
        text += "".join(("<gap>" if told.gap else "") + told.text for told in follower.hear(0.1))
        return enough(text)

    wait_until(hear, "the output", 20)
    return text


def end_of(follower: Follower) -> str:
    ends: list[str] = []
    wait_until(
        lambda: ends.extend(told.end for told in follower.hear(0.1) if told.end is not None) or ends, "the end", 20
    )
    return ends[0]


def test_the_last_lines_come_and_then_the_end(plant: Plant, folder: Path, relay: Relay) -> None:
    write(folder, "".join(f"{number}\n" for number in range(50)))
    follower = follower_of(plant, lines=3, go_on=False)
    told = []
    wait_until(lambda: told.extend(follower.hear(0.1)) or any(one.end is not None for one in told), "the end")
    assert "".join(one.text for one in told) == "47\n48\n49\n"
    assert [one.end for one in told if one.end is not None] == [""]


def test_what_is_printed_while_it_is_followed_comes_whole_and_once_across_rotation(
    plant: Plant, folder: Path, relay: Relay
) -> None:
    expected = [f"line {number} {'x' * 100}\n" for number in range(20_000)]
    write(folder, "")
    follower = follower_of(plant, lines=0)
    wait_until(lambda: follower.hear(0.1), "the first sign of life")

    heard_so_far = [0]

    def print_all() -> None:
        rotated = 0
        for first in range(0, len(expected), 5_000):
            for line in expected[first : first + 5_000]:
                write(folder, line)
            # one rotated file is kept: what nobody has read of it is gone with the next
            wait_until(lambda: heard_so_far[0] >= rotated, "the last rotated file to be read", 60)  # noqa: B023
            rotated = len("".join(expected[: first + 5_000]))
            rotate(folder)

    def is_whole(text: str) -> bool:
        heard_so_far[0] = len(text)
        return text.endswith(expected[-1])

    printing = threading.Thread(target=print_all)
    printing.start()
    text = heard(follower, is_whole)
    printing.join()
    assert text == "".join(expected)


def test_a_relay_that_is_replaced_goes_on_where_the_last_one_was(plant: Plant, folder: Path, tmp_path: Path) -> None:
    write(folder, "1\n2\n")
    follower = follower_of(plant)
    relay_of(plant, tmp_path).turn()
    assert heard(follower, lambda text: text == "1\n2\n")
    write(folder, "3\n")
    rotate(folder)
    write(folder, "4\n")
    follower.ask()
    second = relay_of(plant, tmp_path)
    second.turn()
    assert heard(follower, lambda text: "4" in text) == "3\n4\n"


def test_a_piece_that_is_lost_or_comes_twice_is_made_good(plant: Plant, folder: Path, tmp_path: Path) -> None:
    write(folder, "1\n")
    relay, follower = relay_of(plant, tmp_path), follower_of(plant)
    relay.turn()
    assert heard(follower, bool) == "1\n"
    key = next(iter(plant.client.keys(f"test:{NAME}:{NODE}:output:*")))
    write(folder, "2\n")
    relay.turn()
    (lost, fields), *_ = (entry for entry in plant.client.xrange(key) if "text" in entry[1])
    plant.client.xdel(key, lost)
    write(folder, "3\n")
    relay.turn()
    assert [told.text for told in follower.hear(0.1)] == [], "3 does not follow 1: all is asked for anew"
    relay.turn()
    assert heard(follower, bool) == "2\n3\n"
    key = next(one for one in plant.client.keys(f"test:{NAME}:{NODE}:output:*") if one != key)
    plant.client.xadd(key, fields)
    assert [told.text for told in follower.hear(0.1)] == [], "2 once more"


def test_a_follower_that_does_not_listen_is_not_sent_more_than_it_is_to_take(
    plant: Plant, folder: Path, tmp_path: Path
) -> None:
    write(folder, "x" * 1_999_999 + "\n")
    relay, follower = relay_of(plant, tmp_path), follower_of(plant)
    for _ in range(30):
        relay.turn()
    (key,) = plant.client.keys(f"test:{NAME}:{NODE}:output:*")
    assert 32 <= plant.client.xlen(key) <= 36
    assert 0 < plant.client.ttl(key) <= 10
    stop = threading.Event()
    answering = threading.Thread(target=relay.run, args=(stop,))
    answering.start()
    assert len(heard(follower, lambda text: text.endswith("\n"))) == 2_000_000
    stop.set()
    answering.join()


def test_a_wish_is_bounded_and_forgotten_by_itself_when_no_collector_takes_it(plant: Plant) -> None:
    follower = follower_of(plant)
    for _ in range(150):
        follower.ask()
    key = plant.keys.follows(NODE)
    assert (plant.client.llen(key), 0 < plant.client.ttl(key) <= 10) == (100, True)


def test_a_follower_that_leaves_leaves_nothing_behind(plant: Plant, folder: Path, tmp_path: Path) -> None:
    write(folder, "1\n")
    before = set(plant.client.keys("*"))
    follower = follower_of(plant)
    relay_of(plant, tmp_path).turn()
    assert heard(follower, bool) == "1\n"
    follower.leave()
    assert set(plant.client.keys("*")) == before


def test_what_is_not_at_that_place_is_not_shown(plant: Plant, folder: Path, relay: Relay) -> None:
    write(folder, "secret\n")
    assert end_of(follower_of(plant, item="../workers/flow-1")) == "../workers/flow-1 has left edge-1: it was forgotten"
    plant.client.hset(plant.keys.index, ITEM, "edge-2")
    assert end_of(follower_of(plant)) == "flow-1 has left edge-1 for edge-2"


def test_output_that_does_not_exist_yet_is_waited_for_when_it_is_followed(
    plant: Plant, folder: Path, relay: Relay
) -> None:
    assert end_of(follower_of(plant, go_on=False)) == "flow-1 has printed nothing yet"
    follower = follower_of(plant)
    wait_until(lambda: follower.hear(0.1), "the first sign of life")
    write(folder, "at last\n")
    assert heard(follower, bool) == "at last\n"


def test_output_that_may_not_be_read_is_said_so(plant: Plant, folder: Path, relay: Relay) -> None:
    (folder / "output.log").mkdir()
    why = end_of(follower_of(plant))
    assert why.startswith("the output of flow-1 cannot be read on node edge-1: [Errno 21]")


def test_no_more_follow_than_a_node_is_to_bear(plant: Plant, folder: Path, relay: Relay) -> None:
    write(folder, "1\n")
    first = [follower_of(plant) for _ in range(16)]
    assert [heard(follower, bool) for follower in first] == ["1\n"] * 16
    assert end_of(follower_of(plant)) == "16 others follow output of node edge-1 already; try again later"


def test_a_wish_that_cannot_be_read_costs_nobody_else_anything(plant: Plant, folder: Path, relay: Relay) -> None:
    write(folder, "1\n")
    plant.client.rpush(plant.keys.follows(NODE), "?", '{"follower": 1}')
    assert heard(follower_of(plant), bool) == "1\n"


def test_a_redis_that_goes_away_makes_the_relay_forget_and_nothing_worse(plant: Plant, tmp_path: Path) -> None:
    away = Store(redis.Redis(port=1, decode_responses=True, retry=None), "test")
    relay, stop = Relay(away, tmp_path, NODE, lambda: [NAME], SystemClock()), threading.Event()
    with pytest.raises(STORE_ERRORS):
        relay.turn()
    answering = threading.Thread(target=relay.run, args=(stop,))
    answering.start()
    stop.set()
    answering.join(5)
    assert not answering.is_alive()


def test_without_a_fleet_nothing_is_asked_of_redis(tmp_path: Path) -> None:
    Relay(Store(redis.Redis(port=1), "test"), tmp_path, NODE, list, SystemClock()).turn()
