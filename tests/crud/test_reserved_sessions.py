"""A reservation as the Session that its partner reads, from the station's word until somebody charges or nobody comes."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update

from adapters.sessions import reserved_to_ocpi
from crud.charging_profiles import CLEAR, ChargingProfilesCrud
from crud.commands import CommandsCrud
from crud.sessions import SessionsCrud
from csms.models import Reservation
from tests.adapters import rows
from tests.adapters.field_tables import problems
from tests.adapters.rows import NOON, SNAPSHOT, transaction
from tests.crud.network import ALL, OTHER, TNM, add, asked_by, partners, site

SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"


def reservation(**changes: Any) -> Reservation:
    columns: dict[str, Any] = {
        "number": 1,
        "station_id": "CP001",
        "evse": 1,
        "owner_id": 1,
        "reference": "theirs",
        "tag": "04A1b2C3",
        "tag_key": "04a1b2c3",
        "state": "active",
        "authorization_reference": "AUTH-1",
        "requested_by": "partner:1",
        "created_at": NOON,
        "expires_at": NOON + timedelta(minutes=30),
        "public_id": SESSION,
        "country_code": "BE",
        "party_id": "BEC",
        "granted_at": NOON,
        "snapshot": SNAPSHOT | {"currency": "SEK"},
        "last_updated": NOON,
    }
    return Reservation(**columns | changes)


def test_a_reservation_is_a_session_without_a_charge() -> None:  # CM-43, ER-02, SE-14, SE-16
    shown = reserved_to_ocpi(reservation())

    assert problems(shown, "Session") == []
    assert (shown["status"], shown["kwh"], shown["start_date_time"]) == ("RESERVATION", 0, "2026-03-04T12:00:00Z")
    assert "end_date_time" not in shown
    assert "total_cost" not in shown
    assert (shown["auth_method"], shown["authorization_reference"], shown["currency"]) == ("COMMAND", "AUTH-1", "SEK")
    assert (shown["location_id"], shown["evse_uid"], shown["connector_id"]) == ("LOC1", "CP001-1", "1")
    assert shown["cdr_token"]["party_id"] == "TNM"


@pytest.mark.parametrize("state", ["expired", "cancelled", "used"])
def test_one_that_is_over_is_completed(state: str) -> None:  # CM-44, SE-10, SE-14
    shown = reserved_to_ocpi(reservation(state=state, finished_at=NOON + timedelta(minutes=31)))
    assert problems(shown, "Session") == []
    assert (shown["status"], shown["end_date_time"]) == ("COMPLETED", "2026-03-04T12:31:00Z")


def test_where_no_evse_is_assigned_it_has_none() -> None:  # SE-15
    shown = reserved_to_ocpi(reservation(snapshot=SNAPSHOT | {"evse": None, "connector": None, "currency": None}))
    assert problems(shown, "Session") == []
    assert (shown["location_id"], shown["evse_uid"], shown["connector_id"]) == ("LOC1", "#NA", "#NA")
    assert shown["currency"] == "EUR"


# ---- among the others -----------------------------------------------------------------------------------------------


@pytest.fixture
def sessions(database: Any) -> SessionsCrud:
    add(database, *partners())
    site(database)
    return SessionsCrud(database, rows.each(lambda row: (rows.periods(row.energy_mwh), rows.cost())))


async def listed(sessions: SessionsCrud, caller: Any = TNM, **filters: Any) -> Any:
    with asked_by(caller):
        page, total, last = await sessions.list(ALL | filters)
    return [session["id"] for session in page], total, last


async def test_reservations_are_listed_among_the_charges(database: Any, sessions: SessionsCrud) -> None:  # SE-01, SE-02
    later = NOON + timedelta(hours=1)
    add(
        database,
        transaction("t-1", number=1, created_at=NOON - timedelta(hours=1)),
        transaction("t-2", number=2, created_at=later, last_updated=later),
        reservation(),
        reservation(number=2, public_id="r-2", owner_id=2, reference="other"),
        reservation(number=3, public_id=None, granted_at=None, reference="refused", state="refused"),
    )
    assert await listed(sessions) == (["t-1", SESSION, "t-2"], 3, True)
    assert await listed(sessions, offset=1, limit=1) == ([SESSION], 3, False)
    assert await listed(sessions, date_from=later) == (["t-2"], 1, True)
    assert await listed(sessions, OTHER) == (["r-2"], 1, True)
    with asked_by(TNM, to=("DE", "BEC")):
        assert (await sessions.list(ALL))[1] == 0


async def test_the_charge_takes_the_place_of_its_reservation(database: Any, sessions: SessionsCrud) -> None:  # SE-14
    add(database, reservation())
    with database.read() as connection:
        before = sessions.current(connection, SESSION)
    add(database, transaction(SESSION, created_at=NOON, started_at=NOON + timedelta(minutes=3)))
    with database.write() as connection:
        connection.execute(update(Reservation).values(state="used", transaction_id=SESSION, finished_at=NOON))
    assert await listed(sessions) == ([SESSION], 1, True)
    with database.read() as connection:
        after = sessions.current(connection, SESSION)
        assert sessions.current(connection, "nobody's") is None
    assert before is not None
    assert after is not None
    assert (before["status"], after["status"]) == ("RESERVATION", "ACTIVE")
    assert (before["start_date_time"], after["start_date_time"]) == ("2026-03-04T12:00:00Z", "2026-03-04T12:03:00Z")
    assert before.dict().keys() <= after.dict().keys() | {"authorization_reference"}
    assert after["kwh"] == Decimal("12.3457")


@pytest.mark.parametrize(("caller", "result"), [(TNM, "REJECTED"), (OTHER, "UNKNOWN_SESSION")])
async def test_where_nobody_charges_nothing_is_stopped_or_steered(
    database: Any, sessions: SessionsCrud, caller: Any, result: str
) -> None:  # CM-30, CP-04
    add(database, reservation())

    async def allowed(_: str) -> bool:
        return True

    url = "https://emsp.example/1"
    commands = CommandsCrud(database, None, url_allowed=allowed)  # type: ignore[arg-type]
    profiles = ChargingProfilesCrud(database, url_allowed=allowed)
    body = {"response_url": url, "session_id": SESSION.upper()}
    with asked_by(caller, method="POST", body=body):
        assert (await commands.do("SendCommand", {}, command="STOP_SESSION"))["result"] == result
    with asked_by(caller):
        assert (await profiles.do(CLEAR, None, session_id=SESSION, response_url=url))["result"] == result
