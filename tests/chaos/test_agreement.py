"""The judge of a broken life finds what is missing, there twice or different, each by itself; else its silence is nothing."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from csms.database import Database
from csms.models import ChargeRecord, Review, Transaction
from tests.chaos.agreement import disagreements
from tests.csms.billing.test_charge_records import bill_all, ready
from tests.csms.core_story import told

Requests = list[dict[str, Any]]
ID = "ID"


@pytest.fixture
def dialect() -> str:
    return "sqlite"


@pytest.fixture
async def charged(database: Database) -> tuple[Database, Requests]:
    """A charge of one kWh that was billed, and all that its owner was told of it."""
    async with told(database) as story:
        await ready(story)
        await story.start()
        story.pass_time(minutes=30)
        await story.end(story.transaction().number, 2_000_000)
        bill_all(database)
        name = story.transaction().id
    return (
        database,
        [
            request("PUT", f"/sessions/{name}", {"status": "ACTIVE", "kwh": 0.0}),
            request("PATCH", f"/sessions/{name}", {"status": "COMPLETED", "kwh": 1.0}),
            request("POST", "/cdrs", {"id": "1", "session_id": name, "total_energy": 1.0}),
        ],
    )


def request(method: str, path: str, body: dict[str, Any], status_code: int = 1000) -> dict[str, Any]:
    return {"method": method, "path": f"/ocpi/emsp/2.2.1{path}", "body": body, "status_code": status_code}


def found(database: Database, requests: Requests) -> list[str]:
    with database.read() as connection:
        name = connection.execute(select(Transaction.id)).scalars().first()
        return [line.replace(str(name), ID) for line in disagreements(connection, requests)]


def test_a_charge_that_all_agree_on_is_no_finding(charged: tuple[Database, Requests]) -> None:
    database, requests = charged
    assert found(database, requests) == []
    assert (
        found(database, [*requests, deepcopy(requests[-1])]) == []
    )  # its answer was lost, and it came again as it was


OF_THE_DATABASE: dict[str, tuple[Callable[[Connection, Any], Any], str]] = {
    "no bill": (lambda connection, _: connection.execute(delete(ChargeRecord)), "0 bills and 0 reviews"),
    "two bills": (lambda connection, _: bill_again(connection), "2 bills and 0 reviews"),
    "a bill and a review": (
        lambda connection, name: connection.execute(
            insert(Review).values(transaction_id=name, reasons=["x"], state="open", opened_at=opened(connection))
        ),
        "1 bills and 1 reviews",
    ),
    "no end": (lambda connection, _: connection.execute(update(Transaction).values(state="active")), "ID: active"),
    "other energy": (
        lambda connection, _: connection.execute(update(Transaction).values(energy_mwh=999_999)),
        "ended with 999999 mWh",
    ),
}


def bill_again(connection: Connection) -> None:
    bill = dict(connection.execute(select(ChargeRecord.__table__)).mappings().one())
    connection.execute(insert(ChargeRecord).values(**bill | {"id": "again", "credit": True}))


def opened(connection: Connection) -> Any:
    return connection.execute(select(Transaction.ended_received_at)).scalar_one()


@pytest.mark.parametrize("name", OF_THE_DATABASE)
def test_what_is_wrong_in_the_database_is_found(charged: tuple[Database, Requests], name: str) -> None:
    database, requests = charged
    harm, line = OF_THE_DATABASE[name]
    with database.write() as connection:
        harm(connection, connection.execute(select(Transaction.id)).scalar_one())
    assert any(line in told_of for told_of in found(database, requests))


OF_THE_PARTNER: dict[str, tuple[Callable[[Requests], Requests], str]] = {
    "no session": (lambda all_: all_[2:], "the partner's session is None"),
    "a session that never ended": (lambda all_: [all_[0], all_[2]], "the partner's session is ('ACTIVE', 0.0)"),
    "an end that it refused": (
        lambda all_: [all_[0], all_[1] | {"status_code": 2001}, all_[2]],
        "the partner's session is ('ACTIVE', 0.0)",
    ),
    "no CDR": (lambda all_: all_[:2], "the partner has CDRs of []"),
    "a CDR that it refused": (lambda all_: [*all_[:2], all_[2] | {"status_code": 3000}], "the partner has CDRs of []"),
    "a second CDR": (
        lambda all_: [*all_, all_[2] | {"body": all_[2]["body"] | {"id": "2"}}],
        "the partner has CDRs of [1.0, 1.0]",
    ),
    "other energy": (
        lambda all_: [*all_[:2], all_[2] | {"body": all_[2]["body"] | {"total_energy": 1.001}}],
        "the partner has CDRs of [1.001]",
    ),
    "a session of nobody": (
        lambda all_: [*all_, request("PUT", "/sessions/other", {"status": "COMPLETED", "kwh": 1.0})],
        "session other: nobody charged",
    ),
}


@pytest.mark.parametrize("name", OF_THE_PARTNER)
def test_what_a_partner_has_otherwise_is_found(charged: tuple[Database, Requests], name: str) -> None:
    database, requests = charged
    harm, line = OF_THE_PARTNER[name]
    lines = found(database, harm(requests))
    assert len(lines) == 1
    assert line in lines[0]


@pytest.mark.parametrize(("longest_s", "lines"), [(1800.0, []), (1799.0, ["ID: billed for 1800 s"])])
def test_a_bill_for_longer_than_anybody_can_have_charged_is_found(
    charged: tuple[Database, Requests], longest_s: float, lines: list[str]
) -> None:
    database, requests = charged
    with database.read() as connection:
        name = connection.execute(select(Transaction.id)).scalar_one()
        told_of = disagreements(connection, requests, longest_s=longest_s)
    assert [line.replace(name, ID) for line in told_of] == lines
