"""What installed packages add by entry points, read from real distributions on the path, made for each test."""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

import actions.registry
import workers.registry
from supervisor.errors import SupervisorError
from supervisor.extensions import load_extensions
from supervisor.fleet import read_fleets
from supervisor.fleetfile import FleetError
from supervisor.model import Check
from supervisor.probes import CheckFailed, probe
from tests.factories import make_child
from workers.asking import CannotLook
from workers.drivers.process import ProcessComponent
from workers.target import Target

CODE = """
import dataclasses

from actions.model import Action, ActionContext
from supervisor.probes import CheckFailed
from workers.registry import built_in

PUMP = dataclasses.replace(built_in().get("process"), name="pump")
BORROWED = built_in().get("process")


class Prime(Action, frozen=True):
    name = "prime"

    def execute(self, context: ActionContext) -> str:
        return "primed"


async def modbus(spec):
    if spec.check.options["unit"] != 7:
        raise CheckFailed(f"{spec.check.address}: no unit {spec.check.options['unit']}")


class Rule:
    name, lasts = "dry", 5.0

    def finds(self, snapshot, verdicts):
        return ""


RULE = Rule()
"""
ALL = """
[fsm_supervisor.workers]
pump = {0}:PUMP

[fsm_supervisor.actions]
prime = {0}:Prime

[fsm_supervisor.checks]
modbus = {0}:modbus

[fsm_supervisor.rules]
dry = {0}:RULE
"""


class Site:
    """A folder on the path with distributions in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, points: str, code: str = CODE) -> None:
        """Put a distribution there as an installer would."""
        module = name.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(points.format(module))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", {**sys.modules})  # what a test imports from here is forgotten with it
    return Site(tmp_path)


def refused() -> str:
    with pytest.raises(SupervisorError) as caught:
        load_extensions()
    return str(caught.value)


def test_without_installed_packages_there_is_what_is_built_in() -> None:
    found = load_extensions()
    assert found.workers.names() == workers.registry.built_in().names()
    assert found.actions.names() == actions.registry.built_in().names()
    assert (found.checks, found.rules) == ({}, ())


def test_a_distribution_adds_worker_types_actions_checks_and_rules(site: Site) -> None:
    site.install("acme-edge", ALL)
    found = load_extensions()
    assert set(found.workers.names()) - set(workers.registry.built_in().names()) == {"pump"}
    assert set(found.actions.names()) - set(actions.registry.built_in().names()) == {"prime"}
    assert found.actions.build("prime", {}).timeout == 30.0
    assert list(found.checks) == ["modbus"]
    assert [(rule.name, rule.lasts) for rule in found.rules] == [("dry", 5.0)]


def test_a_fleet_file_may_use_what_a_distribution_adds_and_nothing_that_none_adds(site: Site) -> None:
    path = site.folder / "fleet.toml"
    path.write_text(
        '[supervisor]\nname = "p"\n[[workers]]\nid = "a"\ntype = "pump"\nnode = "n"\nconfig = { command = ["x"] }\n'
        '[[children]]\nname = "plc"\ntype = "tcp"\nnode = "n"\n'
        'check = { kind = "modbus", address = "h:502", options = { unit = 7, fast = true } }\n'
    )
    with pytest.raises(FleetError, match=r"value 'modbus': expected one of tcp, redis, .*, redpanda$"):
        read_fleets(path, load_extensions().workers)
    site.install("acme-edge", ALL)
    found = load_extensions()
    (fleet,) = read_fleets(path, found.workers, own_checks=found.checks)
    assert [worker.type for worker in fleet.workers] == ["pump"]
    assert fleet.children[0].check == Check(kind="modbus", address="h:502", options={"unit": 7, "fast": True})


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ('kind = "modbuz"', "key check.kind: value 'modbuz': expected one of tcp, redis, http, kafka, process, "
        "command, freshness, redpanda, modbus"),
        ('kind = "modbus", path = "/"', "key check.path: value '/': a check of kind modbus has no such key; expected "
        "one of address, options, timeout, failures, successes"),
        ('kind = "modbus", options = { unit = [1] }', "key check.options.unit: value [1]: expected text, a number, "
        "true or false"),
        ('kind = "tcp", address = "h:1", options = { unit = 1 }', "key check.options: value {'unit': 1}: a check of "
        "kind tcp has no such key; expected one of address, timeout, failures, successes"),
    ],
)  # fmt: skip
def test_a_check_that_is_not_as_its_package_can_have_it_is_refused(check: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    child = '[[children]]\nname = "plc"\ntype = "tcp"\nnode = "n"\n'
    path.write_text(f'[supervisor]\nname = "p"\n{child}check = {{ {check} }}\n')
    with pytest.raises(FleetError) as caught:
        read_fleets(path, workers.registry.built_in(), own_checks=["modbus"])
    assert str(caught.value) == f"{path}: [[children]] number 1 (name 'plc'), {message}"


def test_an_installed_check_is_asked_and_one_that_is_not_installed_knows_nothing(site: Site) -> None:
    site.install("acme-edge", ALL)
    own = load_extensions().checks
    well = make_child(check=Check(kind="modbus", address="h:502", options={"unit": 7}))
    asyncio.run(probe(well, own))
    with pytest.raises(CheckFailed, match="h:502: no unit 8"):
        asyncio.run(probe(make_child(check=Check(kind="modbus", address="h:502", options={"unit": 8})), own))
    with pytest.raises(CannotLook, match="no installed package has a check of kind 'modbus'"):
        asyncio.run(probe(well))


# name of the case: (entry points, code, what the complaint says after the entry point)
BROKEN: dict[str, tuple[str, str, str]] = {
    "a module that is not there": (
        "[fsm_supervisor.workers]\npump = acme_pumps:PUMP\n",
        "",
        "'pump' of fsm_supervisor.workers (acme_pumps:PUMP) cannot be loaded: ModuleNotFoundError: No module named "
        "'acme_pumps'",
    ),
    "a module that raises": (
        "[fsm_supervisor.checks]\nmodbus = {0}:modbus\n",
        "1 / 0\n",
        "'modbus' of fsm_supervisor.checks (acme_edge:modbus) cannot be loaded: ZeroDivisionError: division by zero",
    ),
    "a worker type that is none": (
        "[fsm_supervisor.workers]\npump = {0}:Prime\n",
        CODE,
        "'pump' of fsm_supervisor.workers (acme_edge:Prime) is a StructMeta; expected a workers.target.WorkerType",
    ),
    "an action that is none": (
        "[fsm_supervisor.actions]\nprime = {0}:PUMP.name\n",
        CODE,
        "'prime' of fsm_supervisor.actions (acme_edge:PUMP.name) is 'pump'; expected a class of actions.model.Action",
    ),
    "a check that cannot be called": (
        "[fsm_supervisor.checks]\nmodbus = {0}:PUMP.name\n",
        CODE,
        "'modbus' of fsm_supervisor.checks (acme_edge:PUMP.name) is 'pump'; expected an async function of a child's "
        "spec",
    ),
    "a rule that is none": (
        "[fsm_supervisor.rules]\ndry = {0}:PUMP.name\n",
        CODE,
        "'dry' of fsm_supervisor.rules (acme_edge:PUMP.name) is 'pump'; expected something with name, lasts and finds",
    ),
    "another name than its own": (
        "[fsm_supervisor.workers]\npumps = {0}:PUMP\n",
        CODE,
        "'pumps' of fsm_supervisor.workers (acme_edge:PUMP) calls itself 'pump'; expected the entry point's name",
    ),
    "a built-in worker type's name": (
        "[fsm_supervisor.workers]\nprocess = {0}:BORROWED\n",
        CODE,
        "'process' of fsm_supervisor.workers (acme_edge:BORROWED) has a name that is taken (built in); expected "
        "another name",
    ),
    "a built-in action's name": (
        "[fsm_supervisor.actions]\nstop = {0}:Prime\n",
        CODE,
        "'stop' of fsm_supervisor.actions (acme_edge:Prime) has a name that is taken (built in); expected another name",
    ),
    "a built-in check's name": (
        "[fsm_supervisor.checks]\ntcp = {0}:modbus\n",
        CODE,
        "'tcp' of fsm_supervisor.checks (acme_edge:modbus) has a name that is taken (built in); expected another name",
    ),
}


@pytest.mark.parametrize(("points", "code", "what"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_used_is_an_error_that_names_its_distribution(
    points: str, code: str, what: str, site: Site
) -> None:
    site.install("acme-edge", points, code)
    assert refused() == f"distribution acme-edge 1.2: entry point {what}; mend that package, or uninstall it"


def test_two_distributions_with_one_name_are_both_named(site: Site) -> None:
    site.install("acme-edge", ALL)
    site.install("other-edge", "[fsm_supervisor.checks]\nmodbus = {0}:modbus\n")
    assert refused() == (
        "distribution other-edge 1.2: entry point 'modbus' of fsm_supervisor.checks (other_edge:modbus) has a name "
        "that is taken (by acme-edge 1.2); expected another name; mend that package, or uninstall it"
    )


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "bring-your-own-types.md"


def test_the_page_about_own_types_does_what_it_says(site: Site) -> None:
    code, project, fleet_file = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    groups = tomllib.loads(project)["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in groups.items()
    )
    site.install("acme-edge", points, code)
    path = site.folder / "fleet.toml"
    path.write_text(fleet_file)
    found = load_extensions()
    (fleet,) = read_fleets(path, found.workers, own_checks=found.checks)
    asyncio.run(probe(fleet.children[0], found.checks))

    pump, desired = found.workers.get("pump"), fleet.workers[0].desired
    config = msgspec.convert(desired.config, pump.config_type, dec_hook=lambda kind, value: kind(value))
    made = pump.component(Target("pump-1", site.folder / "held", config, desired.config_id))
    assert isinstance(made, ProcessComponent)
    assert made.config.command == ("acme-pump", "--port=4711", "--litres=2.0")
    assert made.config_id == desired.config_id
