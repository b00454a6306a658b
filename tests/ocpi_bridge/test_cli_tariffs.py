"""Tariffs as an operator sees and manages them at a terminal."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from sqlalchemy import insert, select

from crud.models import Partner
from csms.clock import read
from csms.database import Database
from csms.models import Tariff
from tests.adapters.rows import NOON
from tests.ocpi_bridge.cli_answers import objects, refusal
from tests.ocpi_bridge.test_tariffs_at_partners import site, tariff

Cli = Callable[..., Any]
only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def tariffs(cli: Cli, database: Database) -> Cli:
    """Two on a connector, and one that was."""
    partner = {
        "name": "tnm",
        "state": "registered",
        "country_code": "BE",
        "party_id": "BEC",
        "roles": [{"country_code": "DE", "party_id": "TNM", "role": "EMSP"}],
        "created_at": NOON,
    }
    with database.write() as connection:
        connection.execute(insert(Partner).values(**partner))
    deal = tariff("deal", partners=["DE*TNM"], min_price={"excl_vat": "0.50"})
    deal["elements"].insert(
        0,
        {
            "price_components": [{"type": "TIME", "price": "2.50", "step_size": 300}],
            "restrictions": {"start_time": "09:00", "end_time": "18:00", "day_of_week": ["SATURDAY"]},
        },
    )
    public = tariff("public", "0.40", start_date_time="2026-01-01T00:00:00Z")
    document = {"tariffs": [deal, public, tariff("old", end_date_time="2020-01-01T00:00:00Z")]}
    document["locations"] = [site("deal", "public")]
    said = cli("import", "-", input=yaml.safe_dump(document))
    assert said.exit_code == 0, said.stderr
    return cli


@only_sqlite
def test_tariffs_say_for_whom_and_when_they_are(tariffs: Cli) -> None:  # TA-06, TA-17
    deal, old, public = objects(tariffs("tariff", "list", "--json"))
    assert (deal["for"], deal["state"], deal["party"]) == ("DE*TNM", "in_force", "BE*BEC")
    assert (public["for"], public["state"], public["from"]) == ("everybody", "in_force", "2026-01-01T00:00:00Z")
    assert (old["state"], old["until"]) == ("over", "2020-01-01T00:00:00Z")
    assert [row["id"] for row in objects(tariffs("tariff", "list", "--partner", "tnm", "--json"))] == [
        "deal",
        "old",
        "public",
    ]
    assert refusal(tariffs("tariff", "list", "--partner", "nobody")) == "there is no partner nobody"


@only_sqlite
def test_a_tariff_is_shown_with_its_prices_and_where_it_is_named(tariffs: Cli) -> None:
    [row] = objects(tariffs("tariff", "show", "DEAL", "--json"))
    assert (row["id"], row["version"], row["evses"], len(row["elements"])) == ("deal", 1, ["CP001-1"], 2)
    shown = tariffs("tariff", "show", "deal").stdout
    for words in (
        "tariff deal of BE*BEC, version 1: in force",
        "for DE*TNM, REGULAR, EUR",
        "2.5/h",
        "300 s",
        "on Saturday, from 09:00 to before 18:00",
        "0.25/kWh",
        "min. 0.5 EUR a session",
        "named by CP001-1",
    ):
        assert words in shown, shown
    assert "until 2020-01-01T00:00:00Z" in tariffs("tariff", "show", "old").stdout
    assert (
        refusal(tariffs("tariff", "show", "deal", "--version", "2")) == "there is no tariff deal of BE*BEC in version 2"
    )
    assert refusal(tariffs("tariff", "show", "deal", "--party", "NL*SUB")) == "there is no tariff deal of NL*SUB"
    assert tariffs("tariff", "show", "deal", "--party", "NL").exit_code == 2


@only_sqlite
def test_a_tariff_is_removed_when_nothing_names_it(tariffs: Cli, database: Database) -> None:  # TA-03, TA-04
    assert refusal(tariffs("tariff", "remove", "deal")) == "it is named by CP001-1; import a file that does not"
    assert tariffs("tariff", "remove", "old").stdout == "tariff old is removed\n"
    assert refusal(tariffs("tariff", "remove", "old")) == "there is no tariff old of BE*BEC"
    assert [row["id"] for row in objects(tariffs("tariff", "list", "--json"))] == ["deal", "public"]
    everything = objects(tariffs("tariff", "list", "--all", "--json"))
    assert [row["state"] for row in everything if row["id"] == "old"] == ["removed"]
    with database.read() as connection:
        last = connection.execute(select(Tariff.last_updated).where(Tariff.tariff_id == "old")).scalar_one()
    [row] = [row for row in everything if row["id"] == "old"]
    assert read(row["last_updated"]) == last
