"""A network of thousands of stations is imported in a few statements, whoever comes by himself meanwhile."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select

from csms import stations, tokens
from csms.bus import Admission
from csms.database import Database
from csms.import_network import import_network
from csms.models import Connector, Evse, JournalEntry, Station, Token
from csms.passwords import verify
from csms.simulator import network_file
from tests.csms.test_tokens_told_twice import CARD

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
NAMES = [f"CP{number:04}" for number in range(60)]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_more_stations_are_no_more_statements(database: Database) -> None:
    said: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda _c, _r, statement, *_: said.append(statement))

    def import_(names: list[str]) -> int:
        said.clear()
        document = network_file.document(names, names, password="a-password-for-all", evses=2)
        with database.write() as connection:
            changes = import_network(
                connection, document, default_party=("BE", "BEC"), operator_name="Operator", now=NOW
            )
        assert [change.what for change in changes if change.kind == "station"] == ["new"] * (len(names) - known)
        return len(said)

    known = 0
    few = import_(NAMES[:20])
    known = 20
    assert import_(NAMES) <= few + 5  # its one site looks different now
    with database.read() as connection:
        rows = {row.station_id: row for row in connection.execute(select(Station.__table__))}
        evses = connection.execute(select(Evse.__table__)).all()
        plugs = connection.execute(select(Connector.__table__)).all()
        cards = connection.execute(select(Token.id, Token.uid)).all()
        facts = connection.execute(select(JournalEntry.subject).where(JournalEntry.type == "token_changed")).scalars()
        assert sorted(facts, key=int) == sorted((str(card.id) for card in cards), key=int)
    assert sorted(rows) == sorted(card.uid for card in cards) == NAMES
    assert all(verify(b"a-password-for-all", row.password_hash) for row in rows.values())
    assert {(row.station_id, row.evse) for row in evses} == {(name, evse) for name in NAMES for evse in (1, 2)}
    assert sorted(plug.evse_row for plug in plugs) == sorted(row.id for row in evses)


def test_a_station_that_came_by_itself_meanwhile_is_adopted(database: Database) -> None:
    with database.write() as connection:
        values = {"station_id": "CP0001", "admission": Admission.PENDING.value, "created_at": NOW}
        connection.execute(Station.__table__.insert().values(values))  # type: ignore[attr-defined]
        stations.provision_all(connection, dict.fromkeys(NAMES[:3]), NOW)
        found: Any = connection.execute(
            select(Station.station_id, Station.admission).order_by(Station.station_id)
        ).all()
    assert [tuple(row) for row in found] == [(name, Admission.KNOWN.value) for name in NAMES[:3]]


def test_a_card_that_somebody_added_meanwhile_is_changed(database: Database) -> None:
    with database.write() as connection:
        tokens.put(connection, CARD, NOW)
        tokens.put_new(connection, [replace(CARD, valid=False), replace(CARD, uid="OTHER")], NOW)
        found: Any = connection.execute(select(Token.uid, Token.valid).order_by(Token.id)).all()
        facts = connection.execute(select(JournalEntry.type)).scalars().all()
    assert [tuple(row) for row in found] == [(CARD.uid, False), ("OTHER", True)]
    assert facts == ["token_changed"] * 3
