import base64
from datetime import timedelta

import pytest
from sqlalchemy import update

from crud import Crud
from crud.caller import Refusal
from crud.locations import LocationsCrud
from csms.models import Evse, Location, Station
from tests.adapters.field_tables import problems
from tests.adapters.rows import NOON, connector, evse, location, station
from tests.crud.network import ALL, OTHER, add, asked_by, site

TOO_FAR = base64.urlsafe_b64encode(b'["2026-03-04T12:00:00Z",9223372036854775808]').decode()


def many(database, count, **changes):
    add(
        database,
        *(
            location(
                id=number,
                location_id=f"Loc{number:02}",
                location_key=f"loc{number:02}",
                created_at=NOON + timedelta(minutes=number),
                last_updated=NOON + timedelta(hours=count - number),  # the order does not follow it
                **changes,
            )
            for number in range(1, count + 1)
        ),
    )


async def test_pages_follow_each_other_in_the_order_of_creation(database):  # PG-03, PG-05, PG-10
    many(database, 25)
    crud = LocationsCrud(database)
    seen, offset, last = [], 0, False

    with asked_by():
        while not last:
            page, total, last = await crud.list(ALL | {"offset": offset, "limit": 10})
            assert total == 25
            seen += [each.dict()["id"] for each in page]
            offset += 10

    assert seen == [f"Loc{number:02}" for number in range(1, 26)]


async def test_our_next_links_go_on_behind_the_last_object_whatever_moved_before_it(database):  # PG-18, PG-11
    many(database, 25)
    twins = {"created_at": NOON + timedelta(minutes=10)}  # as old as the tenth: the id decides
    add(database, location(id=30, location_id="Twin", location_key="twin", last_updated=NOON, **twins))
    crud = LocationsCrud(database)
    seen, filters = [], ALL | {"limit": 10}

    with asked_by():
        while True:
            page, total, last = await crud.list(filters)
            seen.append([each.dict()["id"] for each in page])
            assert (total, last) == (26, "following" not in filters)
            if last:
                break
            again = {name: value for name, value in filters.items() if name != "following"}
            assert [each.dict()["id"] for each in (await crud.list(again))[0]] == seen[-1]
            filters = ALL | {"limit": 10, "offset": 10**9, "after": filters["following"]}  # the offset counts no more
        for nonsense in ("x", "W10", "WzEsMl0", "WyJ5ZXN0ZXJkYXkiLDFd", "é", TOO_FAR):
            with pytest.raises(Refusal, match="after"):
                await crud.list(ALL | {"after": nonsense})

    everything = [f"Loc{number:02}" for number in range(1, 26)]
    assert [id for page in seen for id in page] == [*everything[:10], "Twin", *everything[10:]]


async def test_beyond_the_end_is_an_empty_last_page(database):  # PG-03
    many(database, 3)
    with asked_by():
        assert await LocationsCrud(database).list(ALL | {"offset": 10**12}) == ([], 3, True)


async def test_dates_are_inclusive_from_and_exclusive_to(database):  # PG-02, XT-02
    many(database, 5)
    crud = LocationsCrud(database)

    async def found(**dates):
        page, total, _ = await crud.list(ALL | dates)
        assert len(page) == total
        return [each.dict()["id"] for each in page]

    with asked_by():
        assert await found(date_from=NOON + timedelta(hours=3)) == ["Loc01", "Loc02"]
        assert await found(date_to=NOON + timedelta(hours=3)) == ["Loc03", "Loc04", "Loc05"]
        assert await found(date_from=NOON + timedelta(hours=4, seconds=1)) == []


async def test_a_location_is_found_in_any_case_and_keeps_its_own(database):  # TY-04
    site(database)
    crud = Crud({"locations": LocationsCrud(database)})

    with asked_by():
        found = await crud.get("locations", None, "lOc1")
        assert await crud.get("locations", None, "LOC2") is None
        assert await crud.get("locations", None, "") is None

    assert found.dict()["id"] == "LOC1"
    assert problems(found.dict(), "Location") == []
    assert [each["uid"] for each in found.dict()["evses"]] == ["CP001-1", "CP001-2"]


async def test_only_the_addressed_party_is_seen(database):  # RT-11
    add(
        database,
        location(),
        location(id=2, party_id="ABC"),
        location(id=3, party_id="ABC", location_id="X", location_key="x"),
    )
    crud = LocationsCrud(database)

    with asked_by(to=("BE", "ABC")):
        assert {each.dict()["party_id"] for each in (await crud.list(ALL))[0]} == {"ABC"}
        assert (await crud.get("LOC1")).dict()["party_id"] == "ABC"
    with asked_by(to=("BE", "BEC")):
        assert await crud.get("X") is None
    with asked_by():
        assert (await crud.list(ALL))[1] == 3
        assert (await crud.get("LOC1")).dict()["party_id"] == "BEC"  # the caller's own of two


async def test_an_unchanged_location_is_not_rendered_again(database):
    site(database)
    crud = LocationsCrud(database)

    with asked_by():
        first, again, listed = await crud.get("LOC1"), await crud.get("LOC1"), (await crud.list(ALL))[0][0]

    assert first is again is listed
    assert first.json_bytes is listed.json_bytes


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (update(Evse).values(status="charging"), "CHARGING"),
        (update(Evse).values(removed=True), "REMOVED"),
        (update(Station).values(offline_told=True), "UNKNOWN"),
    ],
)
async def test_a_change_is_seen_even_when_no_time_rose(database, change, status):  # PU-13
    site(database)
    crud = LocationsCrud(database)
    with asked_by():
        await crud.get("LOC1")
        with database.write() as connection:
            connection.execute(change)
        assert {each["status"] for each in (await crud.get("LOC1")).dict()["evses"]} == {status}


async def test_new_content_with_a_new_time_is_seen(database):
    site(database)
    crud = LocationsCrud(database)
    with asked_by():
        await crud.get("LOC1")
        with database.write() as connection:
            connection.execute(update(Location).values(name="Gent Noord", last_updated=NOON + timedelta(seconds=1)))
        body = (await crud.get("LOC1")).dict()
    assert (body["name"], body["last_updated"]) == ("Gent Noord", "2026-03-04T12:00:01Z")


async def test_what_is_kept_rendered_is_bounded(database):
    many(database, 12)
    crud = LocationsCrud(database, cached=5)
    with asked_by():
        page, _, _ = await crud.list(ALL)
        assert len(page) == 12
        assert (await crud.list(ALL | {"offset": 11}))[0][0] is page[11]
        assert (await crud.list(ALL | {"limit": 1}))[0][0] is not page[0]


def test_the_current_state_is_read_by_row_without_a_caller(database):  # line A of push
    site(database)
    add(database, station("CP002"), evse(3, station_id="CP002", evse=1), evse(4, uid="X", uid_key="x", evse=4))
    add(database, connector(3, id=3))
    crud = LocationsCrud(database)

    with database.read() as connection:
        whole = crud.current(connection, 1)
        evse_two = crud.current_evse(connection, 2)
        assert crud.current(connection, 99) is None
        assert crud.current_evse(connection, 99) is None
        assert crud.current_evse(connection, 4) is None  # without connectors it is not shown

    assert whole is not None
    assert evse_two is not None
    assert [each["uid"] for each in whole.dict()["evses"]] == ["CP001-1", "CP001-2", "CP001-3"]
    assert evse_two.dict() == whole.dict()["evses"][1]


async def test_every_partner_sees_the_locations(database):
    site(database)
    with asked_by(OTHER):
        assert (await LocationsCrud(database).list(ALL))[1] == 1


async def test_a_full_pull_holds_all_that_is_valid_and_what_is_gone_as_removed(database):
    """LO-05, LO-08, LO-09, CD-35: so whoever reads an old CDR finds the time zone of its place."""
    site(database)
    add(
        database,
        location(id=2, location_id="LOC2", location_key="loc2"),  # nothing stands there (yet)
        location(id=3, location_id="LOC3", location_key="loc3"),
        evse(3, location=3, removed=True),
        connector(3, id=3),
    )
    with asked_by():
        listed, total, _ = await LocationsCrud(database).list(ALL)

    told = {each.dict()["id"]: [each["status"] for each in each.dict().get("evses", [])] for each in listed}
    assert told == {"LOC1": ["AVAILABLE", "AVAILABLE"], "LOC2": [], "LOC3": ["REMOVED"]}
    assert total == 3
    with asked_by():
        gone = await LocationsCrud(database).get("LOC3")
    assert gone.dict()["time_zone"] == "Europe/Brussels"


async def test_a_private_site_is_nobodys(database):  # LO-29
    site(database)
    add(database, location(id=2, location_id="HOME", location_key="home", publish=False, roaming=False))
    crud = LocationsCrud(database)

    with asked_by():
        assert [each.dict()["id"] for each in (await crud.list(ALL))[0]] == ["LOC1"]
        assert await crud.get("HOME") is None
        with database.read() as connection:
            assert crud.current(connection, 2) is None  # nor is it pushed
