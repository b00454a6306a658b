"""`roambridge locallist` and `roambridge reservation` as an operator types them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from csms import stations
from csms.database import Database
from csms.models import LocalList, RemoteRequest, Reservation, Station, Token
from csms.tokens import TokenRecord, put
from ocpi_bridge.commands import asking
from tests.ocpi_bridge.cli_answers import objects, refusal

NOW = datetime(2026, 5, 1, tzinfo=UTC)

Cli = Callable[..., Any]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "GRACE_S", 0.0)


@pytest.fixture
def world(database: Database) -> Database:
    """Two stations, one of them here, and a card; no service runs."""
    with database.write() as connection:
        for station_id in ("CP1", "CP2"):
            stations.provision(connection, station_id, None, NOW)
        here = update(Station).where(Station.station_id == "CP1")
        connection.execute(here.values(connection_id="c1", registered="accepted"))
        card = TokenRecord(
            country_code="BE",
            party_id="BEC",
            uid="04A1B2C3D4",
            contract_id="C1",
            issuer="us",
            valid=True,
            last_updated=NOW,
        )
        put(connection, card, NOW)
    return database


# ---- lists of cards -------------------------------------------------------------------------------------------------


def test_lists_are_enabled_for_one_or_all_and_seen_for_each(cli: Cli, world: Database) -> None:  # D04
    assert cli("locallist", "enable", "CP1").stdout == "CP1 will be told its cards\n"
    assert cli("locallist", "enable", "--all").stdout == "2 stations will be told their cards\n"
    with world.write() as connection:
        tried = {"tried_at": NOW, "due_at": NOW + timedelta(days=1)}
        sent = {"state": "sent", "version": 3, "entries": {"04a1b2c3d4": "d"}, "succeeded_at": NOW, **tried}
        connection.execute(update(LocalList).where(LocalList.station_id == "CP1").values(**sent))
        connection.execute(
            update(LocalList).where(LocalList.station_id == "CP2").values(state="failed", detail="Failed", **tried)
        )
    first, second = objects(cli("locallist", "list", "--json"))
    assert (first["state"], first["version"], first["cards"], first["online"]) == ("sent", 3, 1, True)
    assert (second["state"], second["detail"], second["wanted_by"]) == ("failed", "Failed", "operator")
    shown = cli("locallist", "list").stdout
    assert "Lists of cards" in shown
    assert "04a1" not in shown.casefold()
    assert cli("locallist", "disable", "CP2").exit_code == 0
    assert objects(cli("locallist", "list", "--json"))[1]["wanted_by"] == "nobody"


def test_what_cannot_be_told_is_one_line(cli: Cli, world: Database) -> None:  # D04
    assert refusal(cli("locallist", "enable", "CP9")) == "there is no station CP9"
    assert refusal(cli("locallist", "push", "CP1")).startswith("CP1 keeps no list; let it with: ")
    for wrong in (["enable"], ["enable", "CP1", "--all"]):
        assert cli("locallist", *wrong).exit_code == 2
    cli("locallist", "enable", "--all")
    assert "serve" in refusal(cli("locallist", "push", "CP1", "--timeout", "1"))
    assert refusal(cli("locallist", "push", "CP2")) == "CP2 is offline; it is told when it is back"


def test_blocking_a_card_has_all_lists_told(cli: Cli, world: Database) -> None:  # D04
    cli("locallist", "enable", "CP1")
    with world.write() as connection:
        connection.execute(update(LocalList).values(due_at=NOW + timedelta(days=9000), asked_at=None))
    assert cli("token", "block", "04a1b2c3d4").exit_code == 0
    with world.read() as connection:
        row = connection.execute(select(LocalList.due_at, LocalList.asked_at)).one()
    assert row.due_at == row.asked_at
    assert row.due_at < NOW + timedelta(days=9000)


# ---- reservations ---------------------------------------------------------------------------------------------------


def test_a_reservation_waits_for_the_station(cli: Cli, world: Database, impatient: None) -> None:
    said = refusal(cli("reservation", "make", "CP1", "04a1b2c3d4", "--evse", "1", "--timeout", "1"))
    assert said == "CP1: no answer"
    with world.read() as connection:
        row = connection.execute(select(Reservation.__table__)).one()
        request = connection.execute(select(RemoteRequest.__table__)).one()
        card = connection.execute(select(Token.id)).scalar_one()
    assert (row.state, row.evse, row.token_id, row.tag) == ("requested", 1, card, "04A1B2C3D4")
    assert (request.id, request.state, request.token_id) == (row.remote_request_id, "queued", card)
    assert row.requested_by.startswith("cli:")
    [shown] = objects(cli("reservation", "list", "--open", "--json"))
    assert (shown["number"], shown["station_id"], shown["card"]) == (1, "CP1", "04…D4")
    assert refusal(cli("reservation", "cancel", "1", "--timeout", "1")) == "CP1: no answer"


def test_what_cannot_be_reserved_is_one_line(cli: Cli, world: Database) -> None:
    assert refusal(cli("reservation", "make", "CP9", "04a1b2c3d4")) == "there is no station CP9"
    assert refusal(cli("reservation", "make", "CP1", "a number nobody's wire can carry")).startswith("not reserved: ")
    assert refusal(cli("reservation", "cancel", "7")) == "there is no reservation 7"
    with world.write() as connection:
        over = {"station_id": "CP1", "evse": 0, "tag": "X", "tag_key": "x", "state": "used", "requested_by": "cli:eve"}
        connection.execute(insert(Reservation).values(**over, created_at=NOW, expires_at=NOW))
    assert refusal(cli("reservation", "cancel", "1")) == "reservation 1 is used already"
    assert cli("reservation", "list", "--open").stdout == "Reservations: none\n"
