"""A partner's list that is read beside other writers of its cards waits for them, and a lost connection costs it nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from csms import lock_order
from csms.database import Database
from csms.models import Token
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.token_sync import TokenSync
from tests.csms.test_lock_order import waits
from tests.ocpi_bridge.roaming_world import PARTY, world_of

LIMIT_S = 60
CUT_WHO_WAITS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
LISTED = ("D", "C", "B", "A")  # by their ids in this order, by their keys in the other


def first_listed(emsp: EmspSimulator) -> None:
    for uid in LISTED:
        emsp.issue_token(uid, last_updated="2026-03-01T00:00:00Z")


def told_of_all(emsp: EmspSimulator) -> None:
    for uid in LISTED:
        emsp.issue_token(uid, last_updated="2026-03-02T00:00:00Z", valid=False)


def left_out_but_one(emsp: EmspSimulator) -> None:
    for uid in LISTED[:-1]:
        del emsp.tokens[uid.casefold(), "RFID"]


NEWS: dict[str, tuple[Callable[[EmspSimulator], None], dict[str, bool]]] = {
    "news of all": (told_of_all, dict.fromkeys(LISTED, False)),
    "all but one left out": (left_out_but_one, dict.fromkeys(LISTED, False) | {"A": True}),
}


class Reading:
    """A list was read, and there is news; `begin` reads it once more."""

    def __init__(self, database: Database, emsp: EmspSimulator, pull: Callable[[], Any]) -> None:
        self.database = database
        self.emsp = emsp
        self.pull = pull
        self.deadlocks = database.deadlocks

    async def begin(self) -> "asyncio.Task[Any]":
        """Returns when somebody waits for a lock."""
        reading = asyncio.ensure_future(self.pull())
        until = time.monotonic() + LIMIT_S
        while not reading.done() and not await asyncio.to_thread(waits, self.database):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        return reading

    def ids(self) -> list[int]:
        with self.database.read() as connection:
            return list(connection.execute(select(Token.id).order_by(Token.id)).scalars())

    def valid(self) -> dict[str, bool]:
        with self.database.read() as connection:
            return {row.uid: row.valid for row in connection.execute(select(Token.uid, Token.valid))}


@pytest.fixture
def dialect() -> str:
    return "postgresql"


@pytest.fixture
async def reading(database: Database) -> AsyncIterator[Reading]:
    async with world_of(database) as world, EmspSimulator(party=PARTY, page_limit=1) as emsp:
        partner = world.trust(emsp)
        first_listed(emsp)
        sync = TokenSync(database, world.partners, world.client, clock=world.clock)
        assert (await sync.pull(partner)).changed == len(LISTED)
        emsp.page_limit = len(LISTED)
        world.clock.advance(hours=1)
        yield Reading(database, emsp, lambda: sync.pull(partner, full=True))


@pytest.mark.parametrize("news", NEWS)
async def test_who_reads_a_list_takes_its_cards_in_the_order_of_all(reading: Reading, news: str) -> None:
    """Somebody has the first card already, and then comes to the last."""
    change, kept = NEWS[news]
    first, second, third, last = reading.ids()
    change(reading.emsp)
    with reading.database.write() as other:
        lock_order.cards(other, [first])
        begun = await reading.begin()
        await asyncio.to_thread(lock_order.cards, other, [second, third, last])
    result = await begun
    assert (result.complete, result.failure) == (True, None)
    assert reading.database.deadlocks == reading.deadlocks
    assert reading.valid() == kept


@pytest.mark.parametrize("news", NEWS)
async def test_a_list_whose_connection_was_cut_is_stored_all_the_same(reading: Reading, news: str) -> None:
    change, kept = NEWS[news]
    first, *_ = reading.ids()
    change(reading.emsp)
    with reading.database.write() as other:
        lock_order.cards(other, [first])
        begun = await reading.begin()
        assert other.execute(text(CUT_WHO_WAITS)).scalars().all() == [True]
    result = await begun
    assert (result.complete, result.failure) == (True, None)
    assert reading.valid() == kept
