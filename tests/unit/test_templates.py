"""Templates of a fleet file: what their instances become, and how what cannot be is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.fleet import Fleet, read_fleets
from supervisor.fleetfile import FleetError
from workers.registry import built_in

TYPES = built_in()
TEMPLATE = """
[supervisor]
name = "plant"

[[children]]
name = "broker"
type = "tcp"
check = { address = "broker:9092" }

[[templates]]
name = "bridge"
variables = { port = 4195, rate = "1s", read = ["./read", "--quiet"] }

[[templates.workers]]
id = "${name}-connection"
type = "process"
node = "${node}"
depends_on = ["broker"]
labels = { line = "${line}" }
config = { command = ["./connect", "--to", "${target}:${port}", "--price", "$$5"] }

[[templates.workers]]
id = "${name}-read"
type = "dfc_read"
node = "${node}"
depends_on = ["broker", "${name}-connection"]
config = { command = "${read}", http = "127.0.0.1:${port}", env = { TOPIC = "umh.v1.${location}" }, min_uptime = "${rate}" }

[[templates.children]]
name = "${name}-gateway"
type = "http"
node = "${node}"
check = { address = "${target}:80", failures = "${failures}", successes = 2 }
"""  # noqa: E501 - a table of one line
NODES = """
[[nodes]]
name = "edge-1"
variables = { target = "10.0.0.1", failures = 2, rate = "2s" }
"""
PRESS = """
[[instances]]
name = "press"
template = "bridge"
node = "edge-1"
location = "acme.aachen.hall-1.line-4.press-2"
"""
OVEN = """
[[instances]]
name = "oven"
template = "bridge"
node = "edge-2"
desired = "stopped"
location = "acme.aachen.hall-1.line-5"
variables = { target = "10.0.0.2", failures = 3, port = 4196, read = ["./other"] }
"""
WHOLE = TEMPLATE + NODES + PRESS + OVEN
ENTRY = "[[instances]] number 1 (name 'press') of template 'bridge': its "


def read(folder: Path, text: str) -> Fleet:
    path = folder / "fleet.toml"
    path.write_text(text)
    (fleet,) = read_fleets(path, TYPES)
    return fleet


def refused(folder: Path, text: str) -> str:
    """Return the complaint about a file, without the file's name in front."""
    with pytest.raises(FleetError) as caught:
        read(folder, text)
    return str(caught.value).removeprefix(f"{folder / 'fleet.toml'}: ")


def test_each_instance_becomes_the_workers_and_children_of_its_template(tmp_path: Path) -> None:
    fleet = read(tmp_path, WHOLE)
    assert [(worker.id, worker.node, worker.desired.depends_on) for worker in fleet.workers] == [
        ("press-connection", "edge-1", ("broker",)),
        ("press-read", "edge-1", ("broker", "press-connection")),
        ("oven-connection", "edge-2", ("broker",)),
        ("oven-read", "edge-2", ("broker", "oven-connection")),
    ]
    assert [
        (child.name, child.check.address, child.check.failures, child.check.successes) for child in fleet.children
    ] == [
        ("broker", "broker:9092", 1, 1),
        ("press-gateway", "10.0.0.1:80", 2, 2),
        ("oven-gateway", "10.0.0.2:80", 3, 2),
    ]


def test_the_instances_value_goes_over_its_nodes_and_that_over_the_templates_own(tmp_path: Path) -> None:
    connection, flow, other, other_flow = (worker.desired.config for worker in read(tmp_path, WHOLE).workers)
    assert connection["command"] == ("./connect", "--to", "10.0.0.1:4195", "--price", "$5")
    assert other["command"] == ("./connect", "--to", "10.0.0.2:4196", "--price", "$5")
    assert (flow["min_uptime"], flow["command"], flow["http"]) == (2.0, ("./read", "--quiet"), "127.0.0.1:4195")
    assert (other_flow["min_uptime"], other_flow["command"]) == (1.0, ("./other",))


def test_a_location_gives_its_levels_as_variables(tmp_path: Path) -> None:
    fleet = read(tmp_path, WHOLE)
    assert fleet.workers[1].desired.config["env"] == {"TOPIC": "umh.v1.acme.aachen.hall-1.line-4.press-2"}
    assert [worker.desired.labels.get("line") for worker in fleet.workers] == ["line-4", None, "line-5", None]


def test_workers_are_labelled_with_their_instance_and_template_unless_they_say_otherwise(tmp_path: Path) -> None:
    fleet = read(tmp_path, WHOLE.replace("{ line =", '{ instance = "x", line ='))
    assert [worker.desired.labels for worker in fleet.workers][:2] == [
        {"template": "bridge", "instance": "x", "line": "line-4"},
        {"template": "bridge", "instance": "press"},
    ]


def test_a_stopped_instance_stops_all_its_workers_and_a_running_one_leaves_it_to_the_template(tmp_path: Path) -> None:
    text = WHOLE.replace('id = "${name}-read"', 'id = "${name}-read"\ndesired = "stopped"')
    states = [worker.desired.state for worker in read(tmp_path, text).workers]
    assert states == ["running", "stopped", "stopped", "stopped"]


def test_the_files_own_workers_stay_before_those_of_instances(tmp_path: Path) -> None:
    own = '[[workers]]\nid = "own"\ntype = "process"\nnode = "edge-3"\nconfig = { command = ["x", "${HOME}"] }\n'
    fleet = read(tmp_path, WHOLE + own)
    assert [worker.id for worker in fleet.workers][:2] == ["own", "press-connection"]
    assert fleet.workers[0].desired.config["command"] == ("x", "${HOME}")


def test_the_same_file_written_out_is_the_same_fleet(tmp_path: Path) -> None:
    template = '[[templates]]\nname = "t"\n[[templates.workers]]\nid = "${name}"\ntype = "process"\nnode = "n"\n'
    config = 'config = { command = ["x"] }\n'
    made = read(
        tmp_path, '[supervisor]\nname = "p"\n' + template + config + '[[instances]]\nname = "a"\ntemplate = "t"\n'
    )
    labels = 'labels = { template = "t", instance = "a" }\n'
    written = '[supervisor]\nname = "p"\n[[workers]]\nid = "a"\ntype = "process"\nnode = "n"\n' + config + labels
    assert made == read(tmp_path, written)


def test_an_instance_may_belong_to_one_of_several_supervisors(tmp_path: Path) -> None:
    text = WHOLE.replace('[supervisor]\nname = "plant"', '[[supervisors]]\nname = "plant"\n[[supervisors]]\nname = "b"')
    text = text.replace("[[instances]]\n", '[[instances]]\nsupervisor = "plant"\n')
    text = text.replace('name = "broker"', 'name = "broker"\nsupervisor = "plant"')
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    plant, other = read_fleets(path, TYPES)
    assert (len(plant.workers), len(plant.children), len(other.workers)) == (4, 3, 0)


def test_a_floating_worker_can_be_made_without_a_node(tmp_path: Path) -> None:
    commands = 'config = { start = ["gw", "${name}"], stop = ["gw"], status = ["gw"] }\n'
    text = '[supervisor]\nname = "p"\n[[templates]]\nname = "t"\n[[templates.workers]]\nid = "${name}"\n'
    text += 'type = "command"\n' + commands + '[[instances]]\nname = "g"\ntemplate = "t"\n'
    (worker,) = read(tmp_path, text).workers
    assert (worker.id, worker.node, worker.desired.config["start"]) == ("g", None, ("gw", "g"))


# name of the case: (what to replace in the whole file, by what, message)
REFUSED: dict[str, tuple[str, str, str]] = {
    "an unknown key of a template": (
        'name = "bridge"\n',
        'name = "bridge"\nvars = 1\n',
        "[[templates]] number 1 (name 'bridge'): unknown key 'vars' (value 1); expected one of children, name, "
        "variables, workers",
    ),
    "an unknown key of an instance": (
        "location =",
        "place =",
        "[[instances]] number 1 (name 'press'): unknown key 'place' (value 'acme.aachen.hall-1.line-4.press-2'); "
        "expected one of desired, location, name, node, supervisor, template, variables",
    ),
    "an unknown key of a node": (
        'name = "edge-1"\n',
        'name = "edge-1"\nport = 1\n',
        "[[nodes]] number 1 (name 'edge-1'): unknown key 'port' (value 1); expected one of name, variables",
    ),
    "a number for variables": (
        'variables = { target = "10.0.0.1", failures = 2, rate = "2s" }',
        "variables = 3",
        "[[nodes]] number 1 (name 'edge-1'), key variables: value 3: expected `object`, got `int`",
    ),
    "an instance twice": (
        'name = "oven"',
        'name = "press"',
        "[[instances]] number 2 (name 'press'), key name: value 'press': expected a name of its own; number 1 has it "
        "already",
    ),
    "a template without entries": (
        '[[templates]]\nname = "bridge"',
        '[[templates]]\nname = "empty"\n[[templates]]\nname = "bridge"',
        "[[templates]] number 1 (name 'empty'): has no entries; expected [[templates.workers]] or "
        "[[templates.children]] below it",
    ),
    "an unknown template": (
        'template = "bridge"',
        'template = "bride"',
        "[[instances]] number 1 (name 'press'), key template: value 'bride': unknown template; expected one of bridge",
    ),
    "an unknown variable of an instance": (
        'target = "10.0.0.2"',
        'tarket = "10.0.0.2"',
        "[[instances]] number 2 (name 'oven'), key variables.tarket: value '10.0.0.2': unknown variable; expected one "
        "of failures, line, port, rate, read, target",
    ),
    "an unknown variable of a template": (
        "port = 4195",
        "prot = 4195",
        "[[templates]] number 1 (name 'bridge'), key variables.prot: value 4195: unknown variable; expected one of "
        "failures, line, port, rate, read, target",
    ),
    "an unknown variable of a node": (
        'rate = "2s"',
        'rat = "2s"',
        "[[nodes]] number 1 (name 'edge-1'), key variables.rat: value '2s': unknown variable; expected one of "
        "failures, line, port, rate, read, target",
    ),
    "values of a node that there is not": (
        '[[nodes]]\nname = "edge-1"',
        '[[nodes]]\nname = "edge-7"',
        "[[nodes]] number 1 (name 'edge-7'), key name: value 'edge-7': expected a node that this file names: one of "
        "edge-1, edge-2",
    ),
    "a variable without a value": (
        'target = "10.0.0.2", ',
        "",
        "[[templates]] number 1 (name 'bridge'), key workers.0.config.command.2: value '${target}:${port}': instance "
        "'oven': target has no value; expected it in the variables of the instance, its node or the template",
    ),
    "no node where one is needed": (
        'node = "edge-2"\n',
        "",
        "[[templates]] number 1 (name 'bridge'), key workers.0.node: value '${node}': instance 'oven': node has no "
        "value; expected it as a key of the instance",
    ),
    "a level that the location does not have": (
        'location = "acme.aachen.hall-1.line-5"',
        'location = "acme.aachen"',
        "[[templates]] number 1 (name 'bridge'), key workers.0.labels.line: value '${line}': instance 'oven': line "
        "has no value; expected it in the variables of the instance, its node or the template",
    ),
    "no location": (
        'location = "acme.aachen.hall-1.line-5"\n',
        "",
        "[[templates]] number 1 (name 'bridge'), key workers.0.labels.line: value '${line}': instance 'oven': line "
        "has no value; expected it in the variables of the instance, its node or the template",
    ),
    "a location of six levels": (
        "line-4.press-2",
        "line-4.press-2.pump",
        "[[instances]] number 1 (name 'press'), key location: value 'acme.aachen.hall-1.line-4.press-2.pump': "
        "expected a path of one to five names: enterprise.site.area.line.cell",
    ),
    "a level twice": (
        'variables = { target = "10.0.0.2"',
        'variables = { line = "x", target = "10.0.0.2"',
        "[[instances]] number 2 (name 'oven'), key variables.line: value 'x': location says line already; expected it "
        "in one of the two",
    ),
    "a variable that every instance has": (
        "variables = { target",
        'variables = { name = "x", target',
        "[[nodes]] number 1 (name 'edge-1'), key variables.name: value 'x': every instance has the variable name "
        "already; expected another name",
    ),
    "a variable that no text could name": (
        "port = 4195",
        "Port = 4195",
        "[[templates]] number 1 (name 'bridge'), key variables.Port: value 4195: expected a name of small letters, "
        "digits and '_', beginning with a letter",
    ),
    "a variable that is a table": (
        "port = 4195",
        "port = { a = 1 }",
        "[[templates]] number 1 (name 'bridge'), key variables.port: value {'a': 1}: expected text, a number, true, "
        "false or a list of texts",
    ),
    "a variable that is a list of numbers": (
        "port = 4195",
        "port = [1]",
        "[[templates]] number 1 (name 'bridge'), key variables.port: value [1]: expected text, a number, true, false "
        "or a list of texts",
    ),
    "a list in the middle of a text": (
        "port = 4195",
        'port = ["a"]',
        "[[templates]] number 1 (name 'bridge'), key workers.0.config.command.2: value '${target}:${port}': instance "
        "'press': port is ['a'], which cannot be a part of a text; expected text or a number",
    ),
    "a dollar sign alone": (
        "$$5",
        "$5",
        "[[templates]] number 1 (name 'bridge'), key workers.0.config.command.4: value '$5': expected ${variable}, of "
        "small letters, digits and '_', or $$ for a dollar sign",
    ),
    "a variable without braces": (
        "${rate}",
        "$rate",
        "[[templates]] number 1 (name 'bridge'), key workers.1.config.min_uptime: value '$rate': expected "
        "${variable}, of small letters, digits and '_', or $$ for a dollar sign",
    ),
    "an entry that has no id": (
        'id = "${name}-read"\n',
        "",
        ENTRY + "[[workers]] entry: key 'id' is missing; expected it to be set",
    ),
    "an entry with an unknown key": (
        'type = "dfc_read"',
        'type = "dfc_read"\ncolour = "red"',
        ENTRY + "[[workers]] entry (id 'press-read'): unknown key 'colour' (value 'red'); expected one of config, "
        "depends_on, desired, group, id, labels, node, supervisor, type",
    ),
    "an entry of an unknown type": (
        'type = "dfc_read"',
        'type = "robot"',
        ENTRY + "[[workers]] entry (id 'press-read'), key type: value 'robot': unknown worker type; expected one of "
        "benthos, command, dfc_read, dfc_write, http_service, mqtt, opcua, process, tcp_service",
    ),
    "a value of the wrong form": (
        "port = 4195",
        'port = "x"',
        ENTRY + "[[workers]] entry (id 'press-read'), key config.http: value '127.0.0.1:x': expected an address "
        '"HOST:PORT" with a port from 1 to 65535',
    ),
    "a number that became text": (
        "failures = 2",
        'failures = "2"',
        ENTRY + "[[children]] entry (name 'press-gateway'), key check.failures: value '2': expected `int`, got `str`",
    ),
    "ids that are not made unique": (
        'id = "${name}-connection"',
        'id = "connection"',
        "[[instances]] number 2 (name 'oven') of template 'bridge': its [[workers]] entry (id 'connection'), key id: "
        "value 'connection': expected a name of its own; [[instances]] number 1 (name 'press') of template 'bridge' "
        "has it already",
    ),
    "a dependency on nobody": (
        '["broker", "${name}-connection"]',
        '["broker", "${name}-connect"]',
        ENTRY + "[[workers]] entry (id 'press-read'), key depends_on: value 'press-connect': expected a child or "
        "worker beside it: one of broker, oven-connection, oven-gateway, oven-read, press-connection, press-gateway, "
        "press-read",
    ),
    "labels that are no table": (
        'labels = { line = "${line}" }',
        'labels = "${line}"',
        ENTRY + "[[workers]] entry (id 'press-connection'), key labels: value 'line-4': expected `object`, got `str`",
    ),
    "a template of that name twice": (
        "[[nodes]]",
        '[[templates]]\nname = "bridge"\n[[nodes]]',
        "[[templates]] number 2 (name 'bridge'), key name: value 'bridge': expected a name of its own; number 1 has "
        "it already",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_with_place_value_and_what_was_expected(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in WHOLE
    assert refused(tmp_path, WHOLE.replace(old, new, 1)) == message


@pytest.mark.parametrize("table", ["instances", "workers", "children"])
def test_a_table_where_a_list_of_tables_is_expected_is_refused(table: str, tmp_path: Path) -> None:
    text = '[supervisor]\nname = "p"\n[[templates]]\nname = "t"\n[[templates.workers]]\nid = "a"\n'
    message = refused(tmp_path, text + f"[{table}]\na = 1\n")
    assert message == f"[{table}]: value (a table): expected `array`, got `object`"


def test_a_complaint_about_the_files_own_entry_stays_as_it_is(tmp_path: Path) -> None:
    own = '[[workers]]\nid = "press-read"\ntype = "process"\nnode = "edge-3"\nconfig = { command = ["x"] }\n'
    assert refused(tmp_path, WHOLE + own.replace('"process"', '"robot"').replace("press-read", "w")) == (
        "[[workers]] number 1 (id 'w'), key type: value 'robot': unknown worker type; expected one of benthos, "
        "command, dfc_read, dfc_write, http_service, mqtt, opcua, process, tcp_service"
    )
    assert refused(tmp_path, WHOLE + own) == (
        ENTRY + "[[workers]] entry (id 'press-read'), key id: value 'press-read': expected a name of its own; number "
        "1 has it already"
    )


def test_a_template_that_nobody_uses_is_checked_all_the_same(tmp_path: Path) -> None:
    assert refused(tmp_path, TEMPLATE.replace("$$5", "$5")).startswith("[[templates]] number 1 (name 'bridge'), key ")
    assert read(tmp_path, TEMPLATE).workers == ()


def test_the_page_about_the_file_shows_a_template_that_is_accepted(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "fleet-file.md").read_text()
    example = page.partition("## [[templates]]")[2].partition("```toml\n")[2].partition("```")[0]
    fleet = read(tmp_path, '[supervisor]\nname = "p"\n' + example)
    assert [(worker.id, worker.desired.depends_on) for worker in fleet.workers] == [
        ("press-connection", ()),
        ("press-read", ("press-connection",)),
        ("oven-connection", ()),
        ("oven-read", ("oven-connection",)),
    ]
    assert fleet.workers[3].desired.config["http"] == "127.0.0.1:4196"
