"""A list costs what changed in it: nothing is priced or rendered twice, and no page looks through others' rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event, text, update

from crud.cdrs import CdrsCrud
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from csms.models import Transaction
from tests.adapters.rows import NOON, charge_record, cost, each, periods, tariff, transaction
from tests.crud.network import ALL, TNM, add, asked_by, partners, site

SINCE = ALL | {"date_from": NOON}
MANY = 12


@contextmanager
def statements(database) -> Iterator[list[tuple[str, object]]]:
    """What the database is asked, with its parameters."""
    said = []

    def note(_connection, _cursor, statement, parameters, *_):
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            said.append((statement, parameters))

    with database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def filled(database) -> None:
    add(database, *partners(), tariff())
    site(database)
    add(
        database,
        *(
            row
            for number in range(1, MANY + 1)
            for row in (
                transaction(f"s-{number}", number=number, state="ended", ended_at=NOON + timedelta(hours=1)),
                charge_record(f"s-{number}", id=f"r-{number}", tariff=1),
            )
        ),
    )


async def test_a_session_is_priced_once_until_it_changes(database):  # PU-13
    filled(database)
    priced = []
    crud = SessionsCrud(database, each(lambda row: (priced.append(row.id), (periods(row.energy_mwh), cost()))[1]))
    with asked_by(TNM):
        first, *_ = await crud.list(SINCE)
        assert len(priced) == MANY
        priced.clear()
        with database.write() as connection:
            later = {"energy_mwh": 13_000_000, "last_updated": NOON + timedelta(hours=2)}
            connection.execute(update(Transaction).where(Transaction.id == "s-3").values(**later))
        second, *_ = await crud.list(SINCE)
    assert priced == ["s-3"]
    assert [one is other for one, other in zip(first, second, strict=True)].count(False) == 1
    assert next(each for each in second if each["id"] == "s-3")["kwh"] == 13


LISTS = {
    "locations": lambda database: LocationsCrud(database),
    "sessions": lambda database: SessionsCrud(database, each(lambda _: (periods(1), cost()))),
    "cdrs": lambda database: CdrsCrud(database),
}


@pytest.mark.parametrize("module", LISTS)
async def test_what_did_not_change_is_asked_for_in_three_statements(database, module):
    filled(database)
    crud = LISTS[module](database)
    with asked_by(TNM):
        await crud.list(SINCE)
        with statements(database) as said:
            page, total, last = await crud.list(SINCE)
    assert len(said) <= 3, said
    assert (len(page), last) == (total, True)


WHOLE = {
    "sqlite": ("SCAN transactions", "SCAN charge_records"),
    "postgresql": ("Seq Scan on transactions", "Seq Scan on charge_records"),
}


@pytest.mark.parametrize("module", ["sessions", "cdrs"])
async def test_a_partners_list_is_found_by_an_index(database, dialect, module):  # PG-18, PG-19
    filled(database)
    crud = LISTS[module](database)
    with asked_by(TNM), statements(database) as said:
        await crud.list(SINCE | {"limit": 5, "offset": 5})
    assert said
    with database.read() as connection:
        if dialect == "postgresql":  # with so few rows it would read them all
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
        for statement, parameters in said:
            plan = "\n".join(str(tuple(row)) for row in connection.exec_driver_sql(explain + statement, parameters))
            assert not [whole for whole in WHOLE[dialect] if whole in plan], f"{statement}\n{plan}"
