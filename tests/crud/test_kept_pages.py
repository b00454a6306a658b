"""A page of Locations leaves as the bytes it left as before until anything of it changed, and to nobody else."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from adapters.rendered import Rendered
from crud.kept import PAGE_BYTES, KeptPages
from crud.locations import LocationsCrud
from crud.pages import Joined
from csms.models import Evse, Location, Station, Tariff
from tests.adapters.rows import NOON, connector, evse, location, station, tariff
from tests.crud.network import ALL, OTHER, TNM, add, asked_by, site

LATER = NOON + timedelta(hours=1)
NOW, THEN = (1, ()), (2, ())


async def page_of(crud: LocationsCrud, filters: dict[str, Any] = ALL, *, version: str = "2.2.1") -> Joined:
    page, _, _ = await crud.list(dict(filters), version=version)
    assert isinstance(page, Joined)
    return page


def shown(page: Joined) -> Any:
    return orjson.loads(b"[" + page.json_bytes + b"]")


async def test_an_unchanged_page_leaves_as_the_same_bytes(database: Any) -> None:
    site(database)
    crud = LocationsCrud(database)
    with asked_by():
        first, second = await page_of(crud), await page_of(crud)
    assert first is second
    assert shown(first) == [each.dict() for each in first]


CHANGES = {
    "a status": update(Evse).where(Evse.id == 2).values(status="charging"),
    "an EVSE removed": update(Evse).where(Evse.id == 2).values(removed=True),
    "an EVSE never heard of": update(Evse).where(Evse.id == 2).values(status=None),
    "a station lost": update(Station).values(offline_told=True),
    "a name": update(Location).values(name="Gent Noord", last_updated=LATER),
    "a site kept from partners": update(Location).values(roaming=False),
    "an EVSE elsewhere": update(Evse).where(Evse.id == 2).values(location_row=2),
    "its tariff over": update(Tariff).values(told="over"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_whatever_changed_is_seen_at_once(database: Any, change: str) -> None:  # PU-13
    add(
        database, tariff(), location(id=2, location_id="L2", location_key="l2"), location(), station(), evse(1), evse(2)
    )
    add(database, connector(1, id=1), connector(2, id=2))
    crud = LocationsCrud(database)
    with asked_by():
        before = await page_of(crud)
        with database.write() as connection:
            connection.execute(CHANGES[change])
        after = await page_of(crud)
        afresh = await page_of(LocationsCrud(database))
    assert after.json_bytes != before.json_bytes
    assert after.json_bytes == afresh.json_bytes


async def test_a_new_location_and_the_number_of_all_are_seen_on_every_page(database: Any) -> None:  # PG-05
    add(database, *(location(id=n, location_id=f"L{n}", location_key=f"l{n}") for n in range(1, 6)))
    crud = LocationsCrud(database)
    with asked_by():
        for total in (5, 6):
            listed = [await crud.list(ALL | {"offset": offset, "limit": 2}) for offset in (0, 2, 4)]
            assert [(len(page), of_all, last) for page, of_all, last in listed] == [
                (2, total, False),
                (2, total, False),
                (total - 4, total, True),
            ]
            if total == 5:
                add(database, location(id=6, location_id="L6", location_key="l6"))


async def test_a_kept_page_says_again_where_the_next_begins(database: Any) -> None:  # PG-18
    add(database, *(location(id=n, location_id=f"L{n}", location_key=f"l{n}") for n in range(1, 4)))
    crud = LocationsCrud(database)
    told = []
    with asked_by():
        for _ in range(2):
            filters = ALL | {"limit": 2}
            await crud.list(filters)
            told.append(filters["following"])
            behind = [await crud.list(ALL | {"after": told[-1]}) for _ in range(2)]
            assert [[each["id"] for each in page] for page, _, _ in behind] == [["L3"], ["L3"]]
            assert [(total, last) for _, total, last in behind] == [(3, True), (3, True)]
    assert told[0] == told[1]


async def test_each_request_has_the_page_that_it_asked_for(database: Any) -> None:  # RT-11, TA-06, LO-33
    site(database)
    add(
        database,
        tariff(id=1, tariff_id="for-tnm", tariff_key="for-tnm", party_id="ABC", details={"partners": ["DE*TNM"]}),
        tariff(id=2, tariff_id="public", tariff_key="public", party_id="ABC"),
        location(id=2, party_id="ABC", location_id="L2", location_key="l2", last_updated=LATER, publish=False),
        evse(3, location=2, uid="E3", uid_key="e3", evse=3),
        connector(3, id=3, tariff_ids=["for-tnm", "public"]),
    )
    crud = LocationsCrud(database)
    for _ in range(2):  # kept and fresh alike
        with asked_by(TNM):
            both, later = await page_of(crud), await page_of(crud, ALL | {"date_from": LATER})
            earlier, old = await page_of(crud, ALL | {"date_to": LATER}), await page_of(crud, version="2.1.1")
        with asked_by(OTHER):
            others = await page_of(crud)
        with asked_by(TNM, to=("BE", "ABC")):
            partys = await page_of(crud)
        assert [each["id"] for each in shown(both)] == ["LOC1", "L2"]
        assert shown(both)[1]["evses"][0]["connectors"][0]["tariff_ids"] == ["for-tnm"]
        assert shown(others)[1]["evses"][0]["connectors"][0]["tariff_ids"] == ["public"]
        assert [each["id"] for each in shown(later)] == [each["id"] for each in shown(partys)] == ["L2"]
        assert [each["id"] for each in shown(earlier)] == ["LOC1"]
        assert [each["id"] for each in shown(old)] == ["LOC1"]  # it has no word for what is not published
        assert "country_code" not in shown(old)[0]


async def test_a_page_without_anything_is_an_empty_list(database: Any) -> None:
    with asked_by():
        page, total, last = await LocationsCrud(database).list(dict(ALL))
    assert (page, total, last) == ([], 0, True)


def test_what_is_kept_of_pages_is_bounded_and_the_longest_unasked_goes_first() -> None:
    pages = KeptPages(most_bytes=2 * PAGE_BYTES + 20)
    made = {name: Joined([Rendered({})], [b"12345678"], following=None) for name in "abc"}
    pages.keep("a", NOW, made["a"])
    pages.keep("b", NOW, made["b"])
    assert pages.same("a", NOW) is made["a"]
    pages.keep("c", NOW, made["c"])
    assert [pages.same(name, NOW) for name in "abc"] == [made["a"], None, made["c"]]
    assert pages.same("a", THEN) is None
    assert pages.same("a", NOW) is None  # what looked otherwise once is not shown again
    pages.keep("a", NOW, made["a"])
    pages.keep("a", THEN, made["b"])
    assert (pages.same("a", THEN), pages.same("c", NOW)) == (made["b"], made["c"])


def test_empty_pages_take_room_too() -> None:
    pages = KeptPages(most_bytes=10 * PAGE_BYTES)
    for number in range(100):  # a partner that asks each minute what changed since the last
        pages.keep(number, (0, ()), Joined([], [], following=None))
    assert len(pages) == 10


def test_what_decides_how_a_page_looks_takes_room_too() -> None:
    pages = KeptPages(most_bytes=10 * PAGE_BYTES)
    look = (1, [(number,) for number in range(1000)])
    for name in "ab":
        pages.keep(name, look, Joined([], [], following=None))
    assert len(pages) == 0
