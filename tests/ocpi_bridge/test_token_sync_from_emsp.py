"""A partner's token list, pulled page by page from a simulated eMSP."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from csms.database import Database
from csms.journal import FactType
from csms.models import JournalEntry, Token
from csms.tokens import TokenRecord, put
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.peers import peer
from ocpi_bridge.pulling import EVERY, pause
from ocpi_bridge.token_sync import TokenSync
from tests.ocpi_bridge.roaming_world import NOON, PARTY, World, running, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
AT = "2026-03-01T00:00:00Z"  # before every pull


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, page_limit=3) as emsp:
        yield emsp


def sync(world: World, **options: Any) -> TokenSync:
    return TokenSync(
        world.database,
        world.partners,
        world.client,
        clock=world.clock,
        poll_s=0.02,
        spread=lambda: 0.5,
        **options,
    )


def issue(emsp: EmspSimulator, *uids: str, **fields: Any) -> None:
    for uid in uids:
        emsp.issue_token(uid, **{"last_updated": AT, **fields})


def cards(world: World, **where: Any) -> dict[str, bool]:
    """uid -> valid"""
    with world.database.read() as connection:
        return {row.uid: row.valid for row in connection.execute(select(Token.uid, Token.valid).filter_by(**where))}


def told(world: World) -> int:
    with world.database.read() as connection:
        changed = select(func.count()).where(JournalEntry.type == FactType.TOKEN_CHANGED)
        return int(connection.execute(changed).scalar_one())


async def test_all_pages_are_read_to_the_end_their_links_name(world: World, emsp: EmspSimulator) -> None:  # PG-12
    issue(emsp, *(f"CARD{number}" for number in range(8)))
    partner = world.trust(emsp)
    result = await sync(world).pull(partner)
    assert (result.complete, result.listed, result.changed) == (True, 8, 8)
    assert cards(world, owner_id=partner) == {f"CARD{number}": True for number in range(8)}
    assert len(emsp.requests) == 3
    assert world.partner().tokens_pulled_at == world.clock()
    assert emsp.complaints == []


async def test_pulling_the_same_again_changes_nothing(world: World, emsp: EmspSimulator) -> None:
    issue(emsp, "A", "B")
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    before = told(world)
    result = await sync(world).pull(partner, full=True)
    assert (result.listed, result.changed, result.invalidated) == (2, 0, 0)
    assert told(world) == before


async def test_what_a_complete_list_does_not_contain_is_invalid(world: World, emsp: EmspSimulator) -> None:  # TK-21
    issue(emsp, "STAYS", "GOES")
    other = world.trust(emsp, "other")
    await sync(world).pull(other)
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    del emsp.tokens["goes", "RFID"]
    world.clock.advance(days=2)
    result = await sync(world).pull(partner)
    assert result.invalidated == 1
    assert cards(world, owner_id=partner) == {"STAYS": True, "GOES": False}
    assert cards(world, owner_id=other) == {"STAYS": True, "GOES": True}  # TK-08


@only_sqlite
async def test_a_card_that_is_listed_again_is_valid_again(world: World, emsp: EmspSimulator) -> None:
    issue(emsp, "A", "B")
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    world.clock.advance(hours=1)
    kept = emsp.tokens.pop(("b", "RFID"))
    await sync(world).pull(partner, full=True)
    assert cards(world) == {"A": True, "B": False}
    emsp.tokens["b", "RFID"] = kept
    world.clock.advance(hours=1)
    await sync(world).pull(partner, full=True)
    assert cards(world) == {"A": True, "B": True}


@only_sqlite
async def test_a_suspiciously_short_list_invalidates_nobody(world: World, emsp: EmspSimulator) -> None:  # TK-21
    issue(emsp, *(f"CARD{number}" for number in range(20)))
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    for number in range(15):
        del emsp.tokens[f"card{number}", "RFID"]
    world.clock.advance(minutes=1)
    result = await sync(world).pull(partner, full=True)
    assert (result.invalidated, result.kept) == (0, 15)
    emsp.tokens.clear()
    result = await sync(world).pull(partner, full=True)
    assert (result.invalidated, result.kept) == (0, 20)
    assert all(cards(world).values())


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.GARBAGE, Fault.ERROR_2001, Fault.DISCONNECT, Fault.REDIRECT])
async def test_a_broken_crawl_keeps_what_it_read_and_invalidates_nobody(
    world: World, emsp: EmspSimulator, fault: Fault
) -> None:  # TK-21
    issue(emsp, *(f"CARD{number}" for number in range(5)))
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    del emsp.tokens["card0", "RFID"]
    issue(emsp, "NEW")
    world.clock.advance(days=2)
    pages = emsp.requests.copy()
    emsp.fault("tokens", fault, times=None)
    result = await sync(world).pull(partner)
    assert (result.complete, result.invalidated) == (False, 0)
    assert result.failure
    assert len(emsp.requests) > len(pages)
    assert world.partner().tokens_pulled_at == NOON
    assert all(cards(world).values())


@only_sqlite
async def test_a_get_that_fails_once_is_repeated(world: World, emsp: EmspSimulator) -> None:  # PU-12
    issue(emsp, "A", "B", "C", "D")
    emsp.fault("tokens", Fault.ERROR_500)
    assert (await sync(world).pull(world.trust(emsp))).complete


@only_sqlite
async def test_good_entries_of_a_page_with_bad_ones_are_taken(world: World, emsp: EmspSimulator) -> None:  # TY-18
    issue(emsp, "GOOD", "BAD")
    emsp.tokens["bad", "RFID"]["valid"] = "perhaps"
    emsp.tokens["foreign", "RFID"] = emsp.tokens["good", "RFID"] | {"uid": "FOREIGN", "party_id": "XXX"}
    result = await sync(world).pull(world.trust(emsp))
    assert (result.complete, result.listed, result.changed, result.unreadable) == (True, 3, 1, 2)
    assert cards(world) == {"GOOD": True}  # CR-34


@only_sqlite
async def test_a_listed_card_that_cannot_be_read_is_not_absent(world: World, emsp: EmspSimulator) -> None:
    issue(emsp, "A", "B")
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    emsp.tokens["b", "RFID"]["valid"] = None
    result = await sync(world).pull(partner, full=True)
    assert (result.unreadable, result.invalidated) == (1, 0)
    assert cards(world) == {"A": True, "B": True}


@only_sqlite
async def test_a_card_pushed_during_the_crawl_is_not_absent(world: World, emsp: EmspSimulator) -> None:
    issue(emsp, "A")
    partner = world.trust(emsp)
    with world.database.write() as connection:
        pushed = TokenRecord(
            owner_id=partner,
            country_code="DE",
            party_id="TNM",
            uid="PUSHED",
            contract_id="C",
            issuer="I",
            valid=True,
            last_updated=NOON - timedelta(days=9),
        )
        put(connection, pushed, NOON + timedelta(seconds=5))
    assert (await sync(world).pull(partner)).invalidated == 0


@only_sqlite
async def test_what_only_the_operator_says_of_a_card_stays(world: World, emsp: EmspSimulator) -> None:
    issue(emsp, "FLEET")
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    world.change(Token, Token.uid == "FLEET", exempt=True)
    emsp.tokens["fleet", "RFID"] |= {"issuer": "Other", "last_updated": "2026-03-02T00:00:00Z"}
    await sync(world).pull(partner, full=True)
    with world.database.read() as connection:
        row = connection.execute(select(Token.issuer, Token.exempt)).one()
    assert (row.issuer, row.exempt) == ("Other", True)


@only_sqlite
async def test_lately_pulled_lists_are_asked_only_for_what_changed(world: World, emsp: EmspSimulator) -> None:  # PG-16
    issue(emsp, "OLD")
    partner = world.trust(emsp)
    await sync(world).pull(partner)
    issue(emsp, "NEW", last_updated="2026-03-04T12:30:00Z")
    world.clock.advance(hours=1)
    result = await sync(world).pull(partner)
    assert (result.listed, result.complete) == (1, False)
    assert emsp.requests[-1].query == "date_from=2026-03-04T11%3A00%3A00Z"
    assert cards(world) == {"OLD": True, "NEW": True}
    assert world.partner().tokens_pulled_at == NOON


@only_sqlite
async def test_a_partner_without_a_token_list_is_left_in_peace(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp, without=("tokens",))
    assert (await sync(world).pull(partner)).failure is None
    assert emsp.requests == []
    with world.database.write() as connection:
        world.partners.leave(connection, partner)
    assert (await sync(world).pull(partner)).failure == "not registered"


# ---- by itself ------------------------------------------------------------------------------------------------------


@only_sqlite
async def test_lists_are_pulled_at_start_after_a_registration_and_every_few_hours(
    world: World, emsp: EmspSimulator
) -> None:  # TK-20
    issue(emsp, "A")
    world.trust(emsp)
    async with EmspSimulator(party=("FR", "NEW")) as late, running((syncing := sync(world)).run()):
        await until(lambda: cards(world) == {"A": True})
        late.issue_token("B")
        world.trust(late, "late")
        syncing.wake()
        await until(lambda: "B" in cards(world))
        issue(emsp, "C", last_updated="2026-03-04T12:00:00Z")

        def hours_later() -> bool:
            world.clock.advance(seconds=EVERY.total_seconds() / 4)
            return "C" in cards(world)

        await until(hours_later)


@only_sqlite
async def test_a_partner_that_hangs_delays_nobody_and_is_tried_again(database: Database, emsp: EmspSimulator) -> None:
    async with world_of(database, call_limit_s=0.3) as world, EmspSimulator(party=("FR", "BAD")) as bad:
        bad.issue_token("BAD")
        bad.fault("tokens", Fault.HANG, times=3)
        world.trust(bad, "bad")
        issue(emsp, "GOOD")
        world.trust(emsp)
        async with running(sync(world).run()):
            await until(lambda: "GOOD" in cards(world))
            assert "BAD" not in cards(world)
            await until(lambda: (world.clock.advance(seconds=1), "BAD" in cards(world))[1])


@only_sqlite
async def test_cards_that_leave_the_list_while_it_is_read_hide_no_other(world: World, emsp: EmspSimulator) -> None:
    """PG-13: what moved up into a part that was read already is read all the same."""
    issue(emsp, *(f"CARD{number}" for number in range(10)))
    world.trust(emsp)
    calling = peer(world.partner())
    assert calling is not None
    seen: set[str] = set()
    async for page in world.client.get_tokens(calling):
        seen |= {entry["uid"] for entry in page}
        for gone in ("card0", "card4") if len(seen) == 3 else ("card7",) if "CARD9" not in seen else ():
            emsp.tokens.pop((gone, "RFID"), None)
    assert seen >= {f"CARD{number}" for number in (1, 2, 3, 5, 6, 8, 9)}
    queries = [request.query for request in emsp.requests]
    assert "offset=1&limit=3" in queries  # two fewer than at the page before: two earlier


@only_sqlite
async def test_a_pull_that_broke_off_goes_on_where_it_stopped(world: World, emsp: EmspSimulator) -> None:  # TK-22
    issue(emsp, *(f"CARD{number}" for number in range(8)))
    partner = world.trust(emsp)
    syncing = sync(world)
    pulled: list[Any] = []
    emsp.watch = lambda request, _: pulled.append(request.query)
    take = world.client._get_again

    async def dies_at_the_third(*asked: Any) -> Any:
        if len(pulled) == 2:
            emsp.fault("tokens", Fault.ERROR_500, times=3)
        return await take(*asked)

    world.client._get_again = dies_at_the_third  # type: ignore[method-assign]
    broken = await syncing.pull(partner)
    assert (broken.listed, broken.complete) == (6, False)
    world.client._get_again = take  # type: ignore[method-assign]
    pulled.clear()
    world.clock.advance(minutes=5)
    result = await syncing.pull(partner)
    assert (result.listed, result.complete, result.failure) == (8, True, None)
    assert pulled == ["offset=6&limit=3"]
    assert world.partner().tokens_pulled_at == NOON  # when the list began to be read
    assert len(cards(world)) == 8


def test_lists_are_polled_in_hours_and_not_all_at_once() -> None:  # PG-14
    pauses = [pause(chance / 10) for chance in range(11)]
    assert pauses == sorted(pauses)
    assert timedelta(hours=4) < pauses[0] < pauses[-1] < timedelta(hours=8)
    assert pauses[-1] - pauses[0] > timedelta(hours=2)
