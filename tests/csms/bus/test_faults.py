"""Whoever dies, in whatever moment, nothing a charger said is lost, done twice or done out of its order."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from csms.bus import NotTaken, dead_letters, names
from csms.bus.client import Client
from csms.events import BootReply, RegistrationStatus
from csms.models import HandledEvent, JournalEntry, MeterSampleRow, StationBoot
from tests.csms.bus.roles import Roles
from tests.csms.bus.words import boot, sample, start, until
from tests.csms.core_story import NOON
from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[3]
ACCEPTED = RegistrationStatus.ACCEPTED


def waiting(server: RedisServer) -> int:
    """Entries in all streams."""
    with server.look() as redis:
        return sum(redis.xlen(names.events(stream)) for stream in range(names.STREAMS))


async def test_a_worker_that_dies_between_commit_and_answer_is_followed_by_one_that_gives_its_answer(
    roles: Roles, redis_server: RedisServer, database_url: str
) -> None:  # E03
    story = roles.story()
    story.site("CP1")
    story.card()
    gateway = await roles.gateway()
    command = [sys.executable, "-c", DIES, redis_server.url, database_url]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    dying = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    try:
        assert dying.stdout is not None
        reporting = asyncio.ensure_future(gateway.bus.report(start("CP1")))
        async with asyncio.timeout(30):
            while not (said := await dying.stdout.readline()).startswith(b"committed"):  # not a line of its log
                assert said
    finally:
        dying.kill()
        await dying.communicate()
    committed = said.decode().split()
    assert committed == ["committed", str(story.transaction().number)]
    assert waiting(redis_server) == 1
    assert not reporting.done()
    redis_server.let_go_of_leases()
    await roles.worker()
    async with asyncio.timeout(30):
        reply = await reporting
    assert reply.transaction_id == story.transaction().number
    assert [entry.type for entry in story.rows(JournalEntry)].count("transaction_started") == 1
    await until(lambda: waiting(redis_server) == 0)


DIES = """
import asyncio, sys
from csms.bus.redis_streams import RedisBus
from csms.database import Database
from tests.csms.core_story import Story

class CommitsOnly:
    def __init__(self, csms):
        self.stations, self.now, self._csms = csms.stations, csms.now, csms
    async def report(self, event):
        reply = await self._csms.report(event)
        print("committed", reply.transaction_id, flush=True)
        await asyncio.Future()

async def main(redis, database):
    csms = Story(Database(database), once=True).csms
    bus = RedisBus(redis, process_id="dying", role="worker")
    await bus.start()
    await asyncio.gather(bus.run(), csms.run(), bus.consume(CommitsOnly(csms)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "forgot"])
async def test_what_waited_in_a_redis_that_died_is_handled_whether_it_was_kept_or_not(
    roles: Roles, redis_server: RedisServer, kept: bool
) -> None:
    gateway = await roles.gateway()
    story = roles.story()
    story.site(*(f"CP{n}" for n in range(20)))
    reporting = [asyncio.ensure_future(gateway.bus.report(boot(f"CP{n}"))) for n in range(20)]
    await until(lambda: waiting(redis_server) == 20)
    redis_server.kill()
    if not kept:
        redis_server.forget()
    redis_server.start()
    await roles.worker()
    async with asyncio.timeout(30):
        replies = await asyncio.gather(*reporting)
    assert {reply.status for reply in replies} == {ACCEPTED}
    assert len(story.rows(StationBoot)) == len(story.rows(HandledEvent)) == 20
    await until(lambda: waiting(redis_server) == 0)


async def test_a_redis_that_dies_under_load_loses_and_doubles_nothing(roles: Roles, redis_server: RedisServer) -> None:
    gateway, worker = await roles.gateway(), await roles.worker()
    names = [f"CP{n}" for n in range(30)]
    worker.story.site(*names)

    async def charger(name: str) -> None:
        for epoch in range(10):
            await gateway.bus.report(boot(name, firmware_version=str(epoch)))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(charger(name))
        await until(lambda: len(worker.story.rows(StationBoot)) > 60)
        redis_server.kill()
        redis_server.forget()
        await asyncio.to_thread(redis_server.start)
    for name in names:
        boots = worker.story.rows(StationBoot, StationBoot.station_id == name)
        assert [row.firmware_version for row in boots] == [str(epoch) for epoch in range(10)]


async def test_what_one_station_says_at_once_is_handled_in_its_order(roles: Roles, redis_server: RedisServer) -> None:
    gateway = await roles.gateway()
    reporting = [asyncio.ensure_future(gateway.bus.report(boot("CP1", firmware_version=str(n)))) for n in range(60)]
    await until(lambda: waiting(redis_server) == 60)
    worker = await roles.worker()
    worker.story.site("CP1")
    async with asyncio.timeout(30):
        await asyncio.gather(*reporting)
    assert [row.firmware_version for row in worker.story.rows(StationBoot)] == [str(n) for n in range(60)]


async def test_streams_that_change_hands_under_load_are_handled_once_and_in_order(
    roles: Roles, redis_server: RedisServer
) -> None:
    """A worker that was stopped for longer than its lease finds another at its streams."""
    gateway = await roles.gateway()
    workers = [await roles.worker(), await roles.worker()]
    story = workers[0].story
    names_ = [f"CP{n}" for n in range(40)]
    story.site(*names_)

    async def charger(name: str) -> None:
        for epoch in range(12):
            await gateway.bus.report(boot(name, firmware_version=str(epoch)))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for name in names_:
            tasks.create_task(charger(name))
        for worker in workers * 2:
            seen = len(story.rows(StationBoot))
            redis_server.give_leases_to(worker.bus.process_id)
            await until(lambda seen=seen: len(story.rows(StationBoot)) > seen + 30)  # type: ignore[misc]
    for name in names_:
        boots = story.rows(StationBoot, StationBoot.station_id == name)
        assert [row.firmware_version for row in boots] == [str(epoch) for epoch in range(12)]
    assert len(story.rows(HandledEvent)) == 480


async def test_what_makes_the_core_fail_is_kept_with_the_reason_and_harms_nobody_else(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway, worker = await roles.gateway(), await roles.worker()
    worker.story.site("CP1", "CP2")
    poison = start("CP1", meter=2**63)  # no database holds such a number
    told = await asyncio.gather(
        gateway.bus.report(poison),
        gateway.bus.report(boot("CP1")),
        gateway.bus.report(boot("CP2")),
        return_exceptions=True,
    )
    assert isinstance(told[0], NotTaken)
    assert "out of range" in str(told[0])
    assert [reply.status for reply in told[1:]] == [ACCEPTED, ACCEPTED]
    await until(lambda: waiting(redis_server) == 0)
    client = Client(redis_server.url)
    [letter] = await dead_letters.letters(client)
    assert (letter.station_id, letter.kind, letter.event_id) == ("CP1", "transaction_started", poison.event_id)
    await until(lambda: worker.bus.measures().dead_letters == 1)
    assert await dead_letters.drop(client, letter)
    assert not await dead_letters.drop(client, letter)
    assert not await dead_letters.requeue(client, letter)
    assert await dead_letters.letters(client) == []
    await client.close()


async def test_what_dies_again_is_one_letter_that_counts(roles: Roles, redis_server: RedisServer) -> None:
    gateway, worker = await roles.gateway(), await roles.worker()
    worker.story.site("CP1")
    poison, other = start("CP1", meter=2**63), start("CP1", meter=2**63)
    for event in (poison, other, poison):  # said once more, to a Redis that was thought to have lost it
        with pytest.raises(NotTaken):
            await gateway.bus.report(event)
    client = Client(redis_server.url)

    async def told() -> list[tuple[str, int]]:
        return [(letter.event_id, letter.times) for letter in await dead_letters.letters(client)]

    assert await told() == [(other.event_id, 1), (poison.event_id, 2)]
    letters = await dead_letters.letters(client)
    assert await dead_letters.requeue(client, letters[1])
    assert await told() == [(other.event_id, 1)]
    with redis_server.look() as redis:
        await until(lambda: redis.xlen(names.DEAD) == 2)
        assert await told() == [(other.event_id, 1), (poison.event_id, 3)]
        assert await dead_letters.drop(client, letters[0])
        assert redis.hkeys(names.DEAD_KEYS) == [poison.event_id]
    with pytest.raises(NotTaken):
        await gateway.bus.report(other)
    assert await told() == [(poison.event_id, 3), (other.event_id, 1)]
    await client.close()


async def test_of_dead_letters_the_newest_are_kept(
    roles: Roles, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "KEPT", 3)
    await roles.worker()
    with redis_server.look() as redis:
        for number in range(5):
            redis.xadd(names.events(3), {"e": f"not ours {number}"})
        await until(lambda: redis.xlen(names.events(3)) == 0)
        assert [fields["e"] for _, fields in redis.xrange(names.DEAD)] == [f"not ours {n}" for n in (2, 3, 4)]
        assert redis.hlen(names.DEAD_KEYS) == 3


async def test_what_killed_five_workers_waits_for_a_person_who_may_send_it_again(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway = await roles.gateway()
    story = roles.story()
    story.site("CP1")
    reporting = asyncio.ensure_future(gateway.bus.report(boot("CP1")))
    await until(lambda: waiting(redis_server) == 1)
    redis_server.delivered("CP1", times=5)
    await roles.worker()
    async with asyncio.timeout(30):
        with pytest.raises(NotTaken, match="taken 5 times"):
            await reporting
    assert story.rows(StationBoot) == []
    client = Client(redis_server.url)
    [letter] = await dead_letters.letters(client)
    assert await dead_letters.requeue(client, letter)
    await until(lambda: len(story.rows(StationBoot)) == 1)
    await until(lambda: waiting(redis_server) == 0)
    assert await dead_letters.letters(client) == []
    await client.close()


async def test_after_several_deaths_what_was_under_way_is_taken_one_by_one(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway = await roles.gateway()
    story = roles.story()
    story.site("CP1")
    reporting = [asyncio.ensure_future(gateway.bus.report(boot("CP1", firmware_version=str(n)))) for n in range(5)]
    await until(lambda: waiting(redis_server) == 5)
    redis_server.delivered("CP1", times=3)
    await roles.worker()
    async with asyncio.timeout(30):
        await asyncio.gather(*reporting)
    assert [row.firmware_version for row in story.rows(StationBoot)] == ["0", "1", "2", "3", "4"]


async def test_an_entry_of_another_release_is_kept_for_people(roles: Roles, redis_server: RedisServer) -> None:
    await roles.worker()
    with redis_server.look() as redis:
        redis.xadd(names.events(3), {"e": "not ours"})
        await until(lambda: redis.xlen(names.DEAD) == 1)
    client = Client(redis_server.url)
    [letter] = await dead_letters.letters(client)
    assert (letter.kind, letter.stream, letter.entry) == ("unreadable", 3, b"not ours")
    await client.close()


async def test_a_message_of_another_release_takes_no_other_along(roles: Roles, redis_server: RedisServer) -> None:
    gateway = await roles.gateway()
    story = roles.story()
    story.site("CP1")
    reporting = asyncio.ensure_future(gateway.bus.report(event := boot("CP1")))
    await until(lambda: waiting(redis_server) == 1)
    reply = BootReply(status=ACCEPTED, current_time=NOON, interval_s=300)
    messages = [["of the next release", 1], ["replied", event.event_id, reply]]
    with redis_server.look() as redis:
        redis.xadd(names.inbox(gateway.bus.process_id), {"m": msgspec.msgpack.encode(messages)})
    async with asyncio.timeout(30):
        assert await reporting == reply


async def test_a_full_stream_takes_no_more_until_a_worker_has_made_room(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway = await roles.gateway(bound=5)
    story = roles.story()
    story.site("CP1")
    reporting = [asyncio.ensure_future(gateway.bus.report(boot("CP1"))) for _ in range(5)]
    await until(lambda: gateway.bus.overloaded)
    late = asyncio.ensure_future(gateway.bus.report(boot("CP1")))
    given_up = asyncio.ensure_future(gateway.bus.report(boot("CP1")))
    depth = gateway.bus.measures().oldest_s[names.stream_of("CP1")]
    await until(lambda: gateway.bus.measures().oldest_s[names.stream_of("CP1")] > depth)  # another second went by
    assert waiting(redis_server) == 5
    given_up.cancel()
    await roles.worker()
    async with asyncio.timeout(30):
        await asyncio.gather(*reporting, late)
    assert len(story.rows(StationBoot)) == 6
    await until(lambda: not gateway.bus.overloaded)


async def test_five_thousand_events_of_five_hundred_stations_through_workers_that_come_and_go(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateways = [await roles.gateway(), await roles.gateway()]
    first, _ = await roles.worker(), await roles.worker()
    story = first.story
    names_ = [f"CP{n}" for n in range(500)]
    story.site(*names_, evses=1)

    async def charger(n: int, name: str) -> None:
        report = gateways[n % 2].bus.report
        await report(boot(name))
        for wh in range(9):
            await report(sample(name, 1000 + wh))

    async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
        for n, name in enumerate(names_):
            tasks.create_task(charger(n, name))
        await until(lambda: len(story.rows(HandledEvent)) > 1000)
        await roles.worker()
        await until(lambda: len(story.rows(HandledEvent)) > 2000)
        await first.leaves()
    assert len(story.rows(HandledEvent)) == 5000
    assert len(story.rows(StationBoot)) == 500
    assert len(story.rows(MeterSampleRow)) == 4500
    await until(lambda: waiting(redis_server) == 0)
    with redis_server.look() as redis:
        assert redis.xlen(names.DEAD) == 0
