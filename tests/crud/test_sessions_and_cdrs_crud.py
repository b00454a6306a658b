from datetime import timedelta
from decimal import Decimal

from crud.cdrs import CdrsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from csms.billing.charge_records import bill, session_prices
from csms.journal import Recorded
from tests.adapters.field_tables import problems
from tests.adapters.rows import NOON, charge_record, cost, each, periods, station, tariff, transaction
from tests.crud.network import ALL, OTHER, TNM, add, asked_by

SINCE = ALL | {"date_from": NOON}


def sessions(database):
    return SessionsCrud(database, each(lambda row: (periods(4_000_000, 1), cost())))


def ids(page):
    return [each.dict()["id"] for each in page]


def a_few(database):
    add(
        database,
        station(),
        transaction("mine-2", number=2, created_at=NOON + timedelta(minutes=2), last_updated=NOON + timedelta(hours=9)),
        transaction("mine-1", number=1, state="ended", ended_at=NOON + timedelta(hours=1)),
        transaction("mine-refused", number=3, state="refused", authorization="blocked"),
        transaction("mine-refused-ended", number=4, state="ended", authorization="blocked", ended_at=NOON),
        transaction("theirs", number=5, owner_id=2),
        transaction("our-own-card", number=6, owner_id=0),
        transaction("unknown-card", number=7, owner_id=None, authorization="invalid"),
    )


async def test_a_partner_sees_its_own_sessions_only(database):  # SE-02, PG-19, XT-06
    a_few(database)

    with asked_by(TNM):
        page, total, last = await sessions(database).list(SINCE)
    with asked_by(OTHER):
        others = ids((await sessions(database).list(SINCE))[0])

    assert (ids(page), total, last) == (["mine-1", "mine-2"], 2, True)
    assert others == ["theirs"]
    assert [problems(each.dict(), "Session") for each in page] == [[], []]


async def test_sessions_are_filtered_by_their_change_and_addressed_party(database):  # PG-02, RT-11
    a_few(database)
    with asked_by(TNM):
        assert ids((await sessions(database).list(ALL | {"date_from": NOON + timedelta(hours=9)}))[0]) == ["mine-2"]
        assert ids((await sessions(database).list(ALL | {"date_to": NOON + timedelta(hours=9)}))[0]) == ["mine-1"]
    with asked_by(TNM, to=("BE", "ABC")):
        assert await sessions(database).list(SINCE) == ([], 0, True)


def test_a_session_is_read_by_its_id_for_push(database):
    a_few(database)
    with database.read() as connection:
        found = sessions(database).current(connection, "mine-2")
        shown = [sessions(database).current(connection, id) for id in ("mine-refused", "our-own-card", "unknown-card")]
    assert found is not None
    assert found.dict()["total_cost"]["excl_vat"] == cost().total_excl_vat  # TC-28
    assert shown == [None, None, None]


async def test_a_partner_sees_its_own_cdrs_with_the_tariff_of_the_start(database):  # CD-01, CD-13, TA-18
    old = tariff(id=1, current=False)
    new = tariff(id=2, version=2, elements=[{"price_components": [{"type": "FLAT", "price": "9", "step_size": 1}]}])
    add(
        database,
        station(),
        old,
        new,
        transaction("mine-1", tariff=1, number=1),
        transaction("mine-2", tariff=1, number=2, auth_method="COMMAND", authorization_reference="ref-2"),
        transaction("theirs", owner_id=2, number=3),
        charge_record("mine-2", id="cdr-2", tariff=1, created_at=NOON + timedelta(hours=2)),
        charge_record("mine-1", id="cdr-1", tariff=1, created_at=NOON + timedelta(hours=1)),
        charge_record("theirs", id="cdr-3", owner_id=2),
    )
    crud = CdrsCrud(database)

    with asked_by(TNM):
        page, total, last = await crud.list(ALL)
        second, _, second_last = await crud.list(ALL | {"offset": 1, "limit": 1})
        late = await crud.list(ALL | {"date_from": NOON + timedelta(hours=2)})
    with asked_by(OTHER):
        others = await crud.list(ALL)

    assert (ids(page), total, last) == (["cdr-1", "cdr-2"], 2, True)
    assert (ids(second), second_last) == (["cdr-2"], True)
    assert (ids(late[0]), ids(others[0])) == (["cdr-2"], ["cdr-3"])
    body = page[1].dict()
    assert problems(body, "CDR") == []
    assert (body["session_id"], body["auth_method"], body["authorization_reference"]) == ("mine-2", "COMMAND", "ref-2")
    assert len(body["tariffs"][0]["elements"][0]["price_components"]) == 2
    with database.read() as connection:
        same = crud.current(connection, "cdr-2")
        assert same is not None
        assert same.json_bytes == page[1].json_bytes
        assert crud.current(connection, "cdr-9") is None


async def test_the_session_costs_what_its_cdr_costs(database):  # TC-28, CD-18
    ended = {"state": "ended", "cause": "local", "ended_at": NOON + timedelta(minutes=40), "meter_start_mwh": 1_000_000}
    add(database, station(), tariff(), transaction("mine", tariff=1, **ended))
    fact = Recorded(
        xid=0,
        position=1,
        type="transaction_ended",
        subject="mine",
        station_id="CP001",
        event_id="e",
        ocpp_version="1.6",
        schema_version=1,
        recorded_at=NOON,
        data={},
    )
    with database.write() as connection:
        bill(connection, [fact], now=NOON + timedelta(hours=1))

    with asked_by(TNM):
        ((session,), _, _) = await SessionsCrud(database, session_prices).list(SINCE)
        ((cdr,), _, _) = await CdrsCrud(database).list(ALL)

    session, cdr = session.dict(), cdr.dict()
    assert problems(session, "Session") == []
    assert problems(cdr, "CDR") == []
    assert cdr["session_id"] == session["id"]
    assert cdr["total_cost"] == session["total_cost"]
    assert cdr["total_cost"]["excl_vat"] == Decimal("3.5865")  # 0.50 + 12.346 kWh x 0.25
    assert cdr["charging_periods"] == session["charging_periods"]
    assert len(cdr["charging_periods"]) == 3
    assert (cdr["total_energy"], cdr["total_time"]) == (session["kwh"], Decimal("0.6667"))


async def test_tariffs_are_listed_once_in_their_version_in_force(database):  # TA-01
    add(
        database,
        tariff(id=1, current=False),
        tariff(id=2, version=2, last_updated=NOON + timedelta(days=1)),
        tariff(id=3, tariff_id="Night", tariff_key="night", created_at=NOON + timedelta(minutes=1)),
        tariff(id=4, tariff_id="gone", tariff_key="gone", removed=True),
        tariff(id=5, tariff_id="foreign", tariff_key="foreign", party_id="ABC", created_at=NOON + timedelta(minutes=2)),
    )
    crud = TariffsCrud(database)

    with asked_by():
        everything, total, _ = await crud.list(ALL)
    with asked_by(to=("BE", "BEC")):
        ours = await crud.list(ALL | {"limit": 1})

    assert (ids(everything), total) == (["standard-ac", "Night", "foreign"], 3)
    assert everything[0].dict()["last_updated"] == "2026-03-05T12:00:00Z"
    assert (ids(ours[0]), ours[1], ours[2]) == (["standard-ac"], 2, False)
    with database.read() as connection:
        newest = crud.current(connection, 1)
        assert newest is not None
        assert newest.dict() == everything[0].dict()
        assert crud.current(connection, 4) is None
        assert crud.current(connection, 9) is None
