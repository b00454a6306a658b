"""A small network in a real database, and partners that ask for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from crud.caller import Caller, IncomingRequest, Party, current_caller, current_request
from crud.models import Partner
from csms.database import Database
from tests.adapters.rows import NOON, connector, evse, location, station

TNM = Caller(
    partner_id=1,
    name="tnm",
    token_state="C",
    our_party=("BE", "BEC"),
    roles=(("DE", "TNM", "EMSP"), ("NL", "TNM", "EMSP")),
)
OTHER = Caller(partner_id=2, name="other", token_state="C", our_party=("BE", "BEC"), roles=(("FR", "OTH", "EMSP"),))
ALL: dict[str, Any] = {"date_from": None, "date_to": None, "offset": 0, "limit": 50}


def add(database: Database, *rows: Any) -> None:
    """In one transaction, in this order."""
    with database.write() as connection, Session(connection) as session:
        for row in rows:
            session.add(row)
            session.flush()
        session.commit()


def partners() -> list[Partner]:
    return [
        Partner(
            id=each.partner_id,
            name=each.name,
            state="registered",
            country_code="BE",
            party_id="BEC",
            roles=[dict(zip(("country_code", "party_id", "role"), role, strict=True)) for role in each.roles],
            created_at=NOON,
        )
        for each in (TNM, OTHER)
    ]


def site(database: Database) -> None:
    """LOC1 with one station of two EVSEs, online."""
    add(database, location(), station(), evse(1), evse(2), connector(1, id=1), connector(2, id=2))


@contextmanager
def asked_by(
    caller: Caller = TNM,
    *,
    method: str = "GET",
    body: object = None,
    to: Party | None = None,
    sender: Party | None = None,
) -> Iterator[None]:
    """The surroundings of one request, as the edge sets them."""
    incoming = IncomingRequest(
        method=method, request_id="r", correlation_id="c", to_party=to, from_party=sender, body=body
    )
    before = current_caller.set(caller), current_request.set(incoming)
    try:
        yield
    finally:
        current_caller.reset(before[0])
        current_request.reset(before[1])
