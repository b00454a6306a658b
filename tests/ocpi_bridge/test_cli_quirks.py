"""What an operator sees of quirks, brings of their own, and says of cards that are spelled otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import insert

from csms import tokens
from csms.bus import Admission
from csms.database import Database
from csms.models import Station
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import SettingsError, load
from tests.csms.core_story import NOON
from tests.ocpi_bridge.cli_answers import objects, refusal
from tests.ocpi_bridge.test_cli import Cli

MINE: dict[str, Any] = {
    "id": "acme-suffix",
    "vendor": "Acme",
    "model": "*",
    "firmware": "<2.4",
    "why": "It writes its serial behind the card.",
    "source": "seen in Gent",
    "repro": ['[2,"1","Authorize",{"idTag":"04A2_1"}]'],
    "expect": {"events": [{"id_token": "04A2"}]},
    "fix": "strip_id_token_suffix",
}


def bring(folder: Path, *entries: dict[str, Any]) -> None:
    (folder / "quirks").mkdir(exist_ok=True)
    (folder / "quirks" / "mine.yaml").write_text(yaml.safe_dump([*entries]), encoding="utf-8")


def station(database: Database, station_id: str, **said: str) -> None:
    with database.write() as connection:
        values = {"station_id": station_id, "admission": Admission.KNOWN.value, "created_at": NOON, **said}
        connection.execute(insert(Station).values(values))


def test_all_quirks_are_listed_with_those_of_the_operator(cli: Cli, tmp_path: Path) -> None:  # Q06
    shipped = [row["id"] for row in objects(cli("quirks", "--json"))]
    assert "keba-serial-behind-the-card" in shipped
    bring(tmp_path, MINE)
    rows = {row["id"]: row for row in objects(cli("quirks", "--json"))}
    assert set(rows) == {*shipped, "acme-suffix"}
    assert rows["acme-suffix"]["source"] == "seen in Gent"
    assert [row["id"] for row in objects(cli("quirks", "--vendor", "keba", "--json"))] == [
        "keba-serial-behind-the-card"
    ]
    assert "acme-suffix" in cli("quirks").stdout


def test_a_stations_quirks_are_by_its_last_boot(cli: Cli, database: Database, tmp_path: Path) -> None:  # Q06
    station(database, "CP1", vendor="ACME", model="X", firmware_version="2.3")
    station(database, "CP2", vendor="Acme", model="X", firmware_version="2.4")
    station(database, "CP3")
    bring(tmp_path, MINE)
    assert [row["fix"] for row in objects(cli("station", "quirks", "CP1", "--json"))] == ["strip_id_token_suffix"]
    assert objects(cli("station", "quirks", "CP2", "--json")) == []
    assert "has never booted" in cli("station", "quirks", "CP3").stdout
    assert refusal(cli("station", "quirks", "CP9")) == "there is no station CP9"


def test_an_entry_that_is_not_whole_keeps_the_service_from_starting(
    cli: Cli, tmp_path: Path, environment: Callable[..., None]
) -> None:  # Q06
    bring(tmp_path, {name: value for name, value in MINE.items() if name != "source"})
    said = refusal(cli("quirks"))
    assert said.startswith("ROAMBRIDGE_DATA_DIR: ")
    assert 'mine.yaml: acme-suffix: "source"' in said
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0")
    with pytest.raises(SettingsError, match="acme-suffix"):
        Service(load())


def test_a_card_gets_an_alias_and_loses_it(cli: Cli, database: Database) -> None:  # D02
    assert cli("token", "add", "04A1B2C3D4").exit_code == 0
    assert cli("token", "alias", "04A1B2C3D4", "D4C3B2A104").stdout == "D4…04 is an alias of card 04…D4\n"
    assert cli("token", "alias", "04a1b2c3d4", "d4c3b2a104").stdout.endswith(", as before\n")
    with database.read() as connection:
        (card,) = tokens.by_key(connection, ["d4c3b2a104"])["d4c3b2a104"]
    assert card.uid == "04A1B2C3D4"
    assert cli("token", "add", "BBBB222222").exit_code == 0
    assert refusal(cli("token", "alias", "BBBB222222", "D4C3B2A104")) == "D4…04 is another card's already"
    assert refusal(cli("token", "alias", "CCCC333333", "X")) == "no card has the number CC…33"
    assert cli("token", "alias", "04A1B2C3D4", "D4C3B2A104", "--remove").exit_code == 0
    with database.read() as connection:
        assert tokens.by_key(connection, ["d4c3b2a104"]) == {}


def test_json_of_a_quirk_holds_its_repro(cli: Cli) -> None:
    row = json.loads(cli("quirks", "--vendor", "OpenEVSE", "--json").stdout.splitlines()[0])
    assert row["repro"][0].startswith('[2,"1","BootNotification"')
