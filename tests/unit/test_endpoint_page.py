"""What docs/fleet-file.md says of services is a fleet."""

from __future__ import annotations

import re
from pathlib import Path

from supervisor.fleet import read_fleets
from workers.registry import built_in

PAGE = Path(__file__).parents[2] / "docs" / "fleet-file.md"


def test_the_services_of_the_page_are_a_fleet_whose_files_are_beside_it(tmp_path: Path) -> None:
    section = re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)
    (services,) = (part for part in section if part.startswith("config of services"))
    workers = "\n".join(re.findall(r"```toml\n(.*?)```", services, re.DOTALL))
    path = tmp_path / "fleet.toml"
    path.write_text(f'[supervisor]\nname = "plant-1"\n{workers}')
    (fleet,) = read_fleets(path, built_in())
    configs = {worker.id: worker.desired.config for worker in fleet.workers}
    assert (configs["historian"]["ca"], configs["historian"]["command"]) == (str(tmp_path / "plant-ca.pem"), ())
    assert (configs["cache"]["send"], configs["cache"]["expect"]) == ("PING\r\n", r"\+PONG")
    assert configs["broker"]["password_file"] == str(tmp_path / "broker.password")
    assert configs["plc-4"]["node"] == "ns=2;s=Line1.Speed"
