"""A command finds its station at whichever gateway holds it; absence and silence are outcomes."""

import asyncio
from datetime import timedelta
from typing import Any

from csms.bus import ConnectionOpened, names
from csms.bus.client import Client
from csms.bus.entries import Seen, entry_from_bytes
from csms.bus.outbox import Outbox
from csms.bus.redis_streams import RedisBus
from csms.bus.where import Arrivals
from csms.commands import (
    Answer,
    Command,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
    StartRemotely,
    TriggerKind,
    TriggerMessage,
)
from csms.models import Connection, Station
from tests.csms.bus.roles import Gateway, Roles
from tests.csms.bus.words import boot, closed, opened, until
from tests.csms.core_story import NOON
from tests.redis_server import RedisServer

SETTINGS = ConfigurationAnswer(
    outcome=Outcome.ACCEPTED, settings=(ConfigurationSetting(key="HeartbeatInterval", value="300"),)
)


class Sockets:
    """The chargers of one gateway: each answers what it is told to, and nothing until `silent` ends."""

    def __init__(self, bus: RedisBus, answer: Answer) -> None:
        self.asked: list[tuple[Command[Any], float]] = []
        self.displaced: list[tuple[str, str, str]] = []
        self.speaks = asyncio.Event()
        self.speaks.set()
        self._answer = answer
        bus.serve_commands(send=self._send, displaced=lambda *told: self.displaced.append(told))

    async def _send(self, command: Command[Any], /, *, timeout_s: float) -> Any:
        self.asked.append((command, timeout_s))
        await self.speaks.wait()
        return self._answer


async def here(gateway: Gateway, server: RedisServer, station_id: str, connection_id: str) -> None:
    """The station connected there, and Redis knows it."""
    gateway.bus.presence.opened(opened(station_id, connection_id))
    with server.look() as redis:
        await until(lambda: redis.hget("roambridge:where", station_id) == f"{gateway.bus.process_id} {connection_id}")


async def test_each_of_two_gateways_is_asked_for_its_own_stations(roles: Roles, redis_server: RedisServer) -> None:
    first, second, api = await roles.gateway(), await roles.gateway(), await roles.api()
    sockets = [Sockets(gateway.bus, SETTINGS) for gateway in (first, second)]
    await here(first, redis_server, "CP1", "c1")
    await here(second, redis_server, "CP2", "c2")
    answers = await asyncio.gather(
        *(api.bus.send(GetConfiguration(station_id=name, keys=("A", "B")), timeout_s=20) for name in ("CP1", "CP2"))
    )
    assert answers == [SETTINGS, SETTINGS]
    assert [[command.station_id for command, _ in one.asked] for one in sockets] == [["CP1"], ["CP2"]]
    command, timeout_s = sockets[0].asked[0]
    assert command.keys == ("A", "B")
    assert 0 < timeout_s <= 20


async def test_nobody_there_is_offline_at_once_and_of_the_commands_own_kind(roles: Roles) -> None:
    api = await roles.api()
    answer = await api.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)
    assert answer == ConfigurationAnswer(outcome=Outcome.OFFLINE, detail="not connected")


async def test_a_gateway_that_does_not_answer_is_a_timeout(roles: Roles, redis_server: RedisServer) -> None:
    gateway, api = await roles.gateway(), await roles.api()
    sockets = Sockets(gateway.bus, SETTINGS)
    sockets.speaks.clear()
    await here(gateway, redis_server, "CP1", "c1")
    answer = await api.bus.send(StartRemotely(station_id="CP1", id_token="CARD"), timeout_s=0.3)
    assert answer.outcome is Outcome.TIMEOUT


async def test_of_a_gateway_that_died_the_stations_are_offline_and_the_core_hears_it_once(
    roles: Roles, redis_server: RedisServer
) -> None:
    worker, other, gateway = await roles.worker(), await roles.worker(), await roles.gateway()
    worker.story.site("CP1", "CP2")
    for name, connection_id in (("CP1", "c1"), ("CP2", "c2")):
        await here(gateway, redis_server, name, connection_id)
        await gateway.bus.report(boot(name))
    await gateway.falls_silent()
    redis_server.outlived(gateway.bus.process_id)
    answer = await worker.bus.send(TriggerMessage(station_id="CP1", kind=TriggerKind.BOOT), timeout_s=20)
    assert answer.outcome is Outcome.OFFLINE
    await until(lambda: [row.connection_id for row in worker.story.rows(Station)] == [None, None])
    assert [(row.close_reason, row.closed_at is None) for row in worker.story.rows(Connection)] == [
        ("its gateway died", False)
    ] * 2
    assert [row.last_frame_at for row in worker.story.rows(Connection)] == [
        row.last_seen_at for row in worker.story.rows(Station)
    ]
    with redis_server.look() as redis:
        assert redis.hlen("roambridge:where") == 0
        await until(lambda: redis.scard("roambridge:silent") == 0)
    assert other.bus.measures().gateways == 0


async def test_a_gateway_that_was_only_taken_for_dead_says_again_who_is_there(
    roles: Roles, redis_server: RedisServer
) -> None:
    worker, gateway = await roles.worker(), await roles.gateway()
    worker.story.site("CP1")
    followed: list[ConnectionOpened] = []
    worker.story.csms.stations.on_opened = followed.append
    sockets = Sockets(gateway.bus, SETTINGS)
    await here(gateway, redis_server, "CP1", "c1")
    await until(lambda: worker.story.rows(Station)[0].connection_id == "c1")
    await gateway.falls_silent()
    redis_server.outlived(gateway.bus.process_id)
    await until(lambda: worker.story.rows(Station)[0].connection_id is None)
    gateway.lives()
    await until(lambda: worker.story.rows(Station)[0].connection_id == "c1")
    answer = await worker.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)
    assert (answer, len(sockets.asked)) == (SETTINGS, 1)
    [row] = worker.story.rows(Connection)
    assert (row.closed_at, row.close_reason) == (None, None)
    assert [connection.connection_id for connection in followed] == ["c1"]  # it is not asked for its Boot again


async def test_a_redis_that_started_again_hears_who_is_there_though_it_knows_the_gateway(
    roles: Roles, redis_server: RedisServer
) -> None:
    gateway = await roles.gateway()
    await here(gateway, redis_server, "CP1", "c1")
    with redis_server.look() as redis:
        redis.hdel("roambridge:where", "CP1")  # as if the last second was not on its disk
    redis_server.kill()
    redis_server.start()
    with redis_server.look() as redis:
        assert redis.zscore("roambridge:alive:gateway", gateway.bus.process_id) is not None
        await until(lambda: redis.hget("roambridge:where", "CP1") == f"{gateway.bus.process_id} c1")


async def test_the_newest_connection_wins_wherever_it_is(roles: Roles, redis_server: RedisServer) -> None:  # T9
    worker, first, second = await roles.worker(), await roles.gateway(), await roles.gateway()
    worker.story.site("CP1")
    sockets = [Sockets(gateway.bus, SETTINGS) for gateway in (first, second)]
    await here(first, redis_server, "CP1", "c1")
    await here(second, redis_server, "CP1", "c2")
    await until(lambda: sockets[0].displaced == [("CP1", "c1", "c2")])
    await worker.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)
    assert [len(one.asked) for one in sockets] == [0, 1]
    first.bus.presence.closed(closed("CP1", "c1"))
    await until(lambda: worker.story.rows(Connection, Connection.closed_at.is_not(None)))
    assert worker.story.rows(Station)[0].connection_id == "c2"
    answer = await worker.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)
    assert answer.outcome is Outcome.ACCEPTED
    assert sockets[1].displaced == []
    second.bus.presence.closed(closed("CP1", "c2"))
    await until(lambda: worker.story.rows(Station)[0].connection_id is None)
    assert (await worker.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)).outcome is Outcome.OFFLINE


async def test_a_command_that_was_under_way_for_too_long_is_not_done(roles: Roles, redis_server: RedisServer) -> None:
    gateway, api = await roles.gateway(), await roles.api()
    sockets = Sockets(gateway.bus, SETTINGS)
    await here(gateway, redis_server, "CP1", "c1")
    await gateway.falls_silent()
    answer = await api.bus.send(StartRemotely(station_id="CP1", id_token="CARD"), timeout_s=0.2)
    assert answer.outcome is Outcome.TIMEOUT
    await asyncio.sleep(0.1)  # by Redis's own clock
    gateway.lives()
    assert (await api.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)).outcome is Outcome.ACCEPTED
    assert [type(command) for command, _ in sockets.asked] == [GetConfiguration]


async def test_a_command_that_came_to_redis_too_late_is_not_done(roles: Roles, redis_server: RedisServer) -> None:
    gateway, api = await roles.gateway(), await roles.api()
    sockets = Sockets(gateway.bus, SETTINGS)
    await here(gateway, redis_server, "CP1", "c1")
    await api.falls_silent()  # what it says waits with it
    answer = await api.bus.send(StartRemotely(station_id="CP1", id_token="CARD"), timeout_s=0.2)
    assert answer.outcome is Outcome.TIMEOUT
    await asyncio.sleep(0.1)  # by Redis's own clock
    api.lives()
    assert (await api.bus.send(GetConfiguration(station_id="CP1"), timeout_s=20)).outcome is Outcome.ACCEPTED
    assert [type(command) for command, _ in sockets.asked] == [GetConfiguration]


async def test_signs_of_life_do_not_pile_up_while_redis_is_away(redis_server: RedisServer) -> None:
    client, away = Client(redis_server.url), [True]
    outbox = Outbox(client)
    arrivals = Arrivals(outbox, process_id="gateway-1", streams=1, away=lambda: away[0])
    for second in range(100):
        arrivals.seen("CP1", NOON + timedelta(seconds=second))
        arrivals.tell_seen()
    away[0] = False
    arrivals.tell_seen()
    writing = asyncio.create_task(outbox.run())
    await outbox.emptied(30)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    [(_, fields)] = await client.ask("XRANGE", names.events(0), "-", "+")
    await client.close()
    assert entry_from_bytes(fields[b"e"]) == Seen({"CP1": NOON + timedelta(seconds=99)})


async def test_one_process_wakes_the_others_and_not_itself(roles: Roles) -> None:
    worker, api = await roles.worker(), await roles.api()
    heard: list[tuple[str, Any]] = []
    worker.bus.on_wake(lambda kind, types: heard.append(("worker", (kind, types))))
    api.bus.on_wake(lambda kind, types: heard.append(("api", (kind, types))))
    await roles.listening(2)
    worker.bus.wake("journal", {"evse_status"})
    worker.bus.wake("journal", {"token_changed"})
    worker.bus.wake("due")
    await until(lambda: len(heard) >= 2)
    assert heard == [("api", ("journal", {"evse_status", "token_changed"})), ("api", ("due", None))]
