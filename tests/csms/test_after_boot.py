"""After a station connected: it is asked for a forgotten Boot, told its intervals, and nothing waits for that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import update

from csms import stations
from csms.after_boot import AfterBoot
from csms.bus import ConnectionOpened
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
    TriggerKind,
    TriggerMessage,
)
from csms.database import Database
from csms.events import RegistrationStatus
from csms.models import Station
from tests.csms.core_story import NOON, told

ACCEPTED = RegistrationStatus.ACCEPTED


class Charger:
    """What it has as settings, and what it was sent."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings
        self.readonly: Sequence[str] = ()
        self.sent: list[Any] = []
        self.busy = self.most = 0

    async def send(self, command: Any, /, *, timeout_s: float) -> Any:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        self.sent.append(command)
        if isinstance(command, GetConfiguration):
            known = [
                ConfigurationSetting(key=key, value=self.settings[key], readonly=key in self.readonly)
                for key in command.keys
                if key in self.settings
            ]
            return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=tuple(known))
        return Answer(outcome=Outcome.ACCEPTED)

    def changed(self) -> dict[str, str]:
        return {command.key: command.value for command in self.sent if isinstance(command, ChangeConfiguration)}


def opened(station_id: str) -> ConnectionOpened:
    return ConnectionOpened(
        connection_id=f"c-{station_id}", station_id=station_id, ocpp_version="1.6", peer="10.0.0.7", opened_at=NOON
    )


def provision(database: Database, *station_ids: str) -> None:
    with database.write() as connection:
        for station_id in station_ids:
            stations.provision(connection, station_id, None, NOON)


@asynccontextmanager
async def following(database: Database, charger: Charger, **options: Any) -> AsyncIterator[AfterBoot]:
    follow = AfterBoot(database, send=charger.send, **{"boot_within_s": 0.02, "settle_s": (0.0, 0.01), **options})
    running = asyncio.create_task(follow.run())
    try:
        yield follow
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def sent(charger: Charger, count: int) -> None:
    async with asyncio.timeout(10):
        while len(charger.sent) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_station_that_sends_no_boot_is_asked_for_it(database: Database) -> None:  # T1
    provision(database, "CP1")
    charger = Charger()
    async with following(database, charger) as follow:
        follow.opened(opened("STRANGER"))
        follow.opened(opened("CP1"))
        await sent(charger, 1)
        (command,) = charger.sent
        assert isinstance(command, TriggerMessage)
        assert (command.station_id, command.kind) == ("CP1", TriggerKind.BOOT)


async def test_intervals_that_differ_are_set_and_others_left_alone(database: Database) -> None:  # B08, T7
    provision(database, "CP1", "CP2")
    with database.write() as connection:
        connection.execute(update(Station).values(heartbeat_interval_s=240))
    charger = Charger(HeartbeatInterval="14400", WebSocketPingInterval="0")
    async with following(database, charger, boot_within_s=30.0) as follow:
        follow.opened(opened("CP1"))
        follow.booted("CP1", ACCEPTED)
        await sent(charger, 3)
        assert charger.changed() == {"HeartbeatInterval": "240", "WebSocketPingInterval": "60"}
        charger.settings, charger.sent = {"HeartbeatInterval": " 240"}, []
        follow.booted("CP1", ACCEPTED)
        await sent(charger, 1)
        charger.settings, charger.readonly = {"HeartbeatInterval": "60"}, ["HeartbeatInterval"]
        follow.booted("CP2", ACCEPTED)
        await sent(charger, 2)
        await asyncio.sleep(0.02)
        assert charger.changed() == {}


async def test_a_station_that_must_wait_is_asked_nothing(database: Database) -> None:  # T1
    provision(database, "CP1")
    charger = Charger()
    async with following(database, charger) as follow:
        follow.opened(opened("CP1"))
        follow.booted("CP1", RegistrationStatus.PENDING)
        await asyncio.sleep(0.05)
        assert charger.sent == []


async def test_many_reconnects_are_followed_up_a_few_at_a_time(database: Database) -> None:  # X07
    names = [f"CP{n}" for n in range(300)]
    provision(database, *names)
    charger = Charger(HeartbeatInterval="300")
    async with following(database, charger, at_once=4) as follow:
        for name in names:
            follow.booted(name, ACCEPTED)
        await sent(charger, 300)
        assert {command.station_id for command in charger.sent} == set(names)
        assert charger.most <= 4


async def test_an_answer_to_a_boot_does_not_wait_for_what_follows(database: Database) -> None:  # B08
    async with told(database, follow_up=True) as story:
        story.site("CP1")
        story.csms.stations.opened(opened("CP1"))
        assert (await story.boot()).status is ACCEPTED
        assert story.sent == []
