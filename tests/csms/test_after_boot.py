"""After a station connected: it is asked for a forgotten Boot, told its intervals, and nothing waits for that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from csms import boot_settings, configuration, stations
from csms.after_boot import AfterBoot, Step
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
from csms.models import Alert, DesiredSetting, Station
from tests.csms.core_story import NOON, told

ACCEPTED = RegistrationStatus.ACCEPTED


class Charger:
    """What it has as settings, what it does with a change, and what it was sent."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings
        self.readonly: Sequence[str] = ()
        self.says = Outcome.ACCEPTED
        self.keeps = True
        self.tells_all = True
        self.most_keys = 1000
        self.sent: list[Any] = []
        self.busy = self.most = 0

    async def send(self, command: Any, /, *, timeout_s: float) -> Any:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        self.sent.append(command)
        if isinstance(command, GetConfiguration):
            assert len(command.keys) <= self.most_keys
            known = [
                ConfigurationSetting(key=key, value=value, readonly=key in self.readonly)
                for key, value in self.settings.items()
                if key in command.keys or (not command.keys and self.tells_all)
            ]
            unknown = tuple(key for key in command.keys if key not in self.settings)
            return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=tuple(known), unknown=unknown)
        if isinstance(command, ChangeConfiguration) and self.keeps and self.says is Outcome.ACCEPTED:
            self.settings[command.key] = command.value
        return Answer(outcome=self.says)

    def changed(self) -> dict[str, str]:
        return {command.key: command.value for command in self.sent if isinstance(command, ChangeConfiguration)}

    def asked(self) -> list[tuple[str, ...]]:
        return [command.keys for command in self.sent if isinstance(command, GetConfiguration)]


class Watched(AfterBoot):
    """`ended`: how many steps were taken to their end."""

    ended = 0

    async def _take(self, station_id: str, step: Step) -> None:
        await super()._take(station_id, step)
        self.ended += 1


def opened(station_id: str) -> ConnectionOpened:
    return ConnectionOpened(
        connection_id=f"c-{station_id}", station_id=station_id, ocpp_version="1.6", peer="10.0.0.7", opened_at=NOON
    )


def provision(database: Database, *station_ids: str) -> None:
    with database.write() as connection:
        for station_id in station_ids:
            stations.provision(connection, station_id, None, NOON)


@asynccontextmanager
async def following(database: Database, charger: Charger, **options: Any) -> AsyncIterator[Watched]:
    follow = Watched(database, send=charger.send, **{"boot_within_s": 0.02, "settle_s": (0.0, 0.01), **options})
    running = asyncio.create_task(follow.run())
    try:
        yield follow
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def sent(charger: Charger, count: int) -> None:
    async with asyncio.timeout(30):
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


async def followed(follow: Watched, charger: Charger, station_id: str = "CP1") -> None:
    """A Boot, and all that follows it."""
    charger.sent.clear()
    before = follow.ended
    follow.booted(station_id, ACCEPTED)
    async with asyncio.timeout(30):
        while follow.ended == before:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def wishes(database: Database) -> dict[str, tuple[str, str, int]]:
    with database.read() as connection:
        rows = connection.execute(select(DesiredSetting.__table__)).all()
    return {row.key: (row.value, row.state, row.tries) for row in rows}


async def test_intervals_that_differ_are_set_read_back_and_others_left_alone(database: Database) -> None:  # B08, T7
    provision(database, "CP1", "CP2")
    with database.write() as connection:
        connection.execute(update(Station).values(heartbeat_interval_s=240))
    charger = Charger(HeartbeatInterval="14400", WebSocketPingInterval="0", Colour="red")
    async with following(database, charger, boot_within_s=30.0) as follow:
        follow.opened(opened("CP1"))
        await followed(follow, charger)
        assert charger.changed() == {"HeartbeatInterval": "240", "WebSocketPingInterval": "60"}
        assert charger.asked() == [(), ("HeartbeatInterval", "WebSocketPingInterval")]
        assert wishes(database) == {"HeartbeatInterval": ("240", "set", 0), "WebSocketPingInterval": ("60", "set", 0)}
        charger.settings["HeartbeatInterval"] = " 240"
        await followed(follow, charger)
        assert (charger.changed(), charger.asked()) == ({}, [("HeartbeatInterval", "WebSocketPingInterval")])
        charger.settings, charger.readonly = {"HeartbeatInterval": "60"}, ["HeartbeatInterval"]
        await followed(follow, charger, "CP2")
        assert charger.changed() == {}


async def test_settings_are_read_whole_once_a_day_and_told_where_they_drifted(database: Database) -> None:  # C09
    provision(database, "CP1")
    now = NOON
    charger = Charger(HeartbeatInterval="300", MaxCurrent="32", AuthorizationKey="hunter2")
    async with following(database, charger, clock=lambda: now) as follow:
        await followed(follow, charger)
        assert charger.asked() == [()]
        with database.write() as connection:
            rows = {row.key: row.value for row in configuration.settings(connection, "CP1")}
            assert rows == {"HeartbeatInterval": "300", "MaxCurrent": "32", "AuthorizationKey": None}
            configuration.wish(connection, "CP1", "MaxCurrent", "16", wished_by="cli:eve", now=now)
            [drift] = configuration.drift(connection, "CP1")
            assert (drift.key, drift.desired, drift.actual, drift.state) == ("MaxCurrent", "16", "32", "open")
        now += timedelta(hours=23)
        await followed(follow, charger)
        assert charger.asked()[0] == ("HeartbeatInterval", "WebSocketPingInterval", "MaxCurrent")
        assert charger.changed() == {"MaxCurrent": "16"}  # it was away when the wish was made
        with database.read() as connection:
            assert configuration.drift(connection) == []
        now += timedelta(hours=2)
        await followed(follow, charger)
        assert charger.asked()[0] == ()


async def test_a_setting_that_is_accepted_twice_and_never_kept_is_left_alone(database: Database) -> None:  # Q03
    provision(database, "CP1")
    charger = Charger(HeartbeatInterval="60")
    charger.keeps = False
    changes = []
    async with following(database, charger) as follow:
        for _ in range(5):
            await followed(follow, charger)
            changes.append(charger.changed())
    assert changes == [{"HeartbeatInterval": "300"}] * 2 + [{}] * 3
    assert wishes(database) == {"HeartbeatInterval": ("300", "ignored", 2)}
    with database.read() as connection:
        [alert] = connection.execute(select(Alert.__table__)).all()  # one, and no more
    assert (alert.kind, alert.station_id) == ("setting_ignored", "CP1")


@pytest.mark.parametrize(
    ("says", "state"),
    [(Outcome.REJECTED, "refused"), (Outcome.NOT_SUPPORTED, "unsupported"), (Outcome.TIMEOUT, "open")],
)
async def test_a_station_that_decided_is_not_asked_again(database: Database, says: Outcome, state: str) -> None:  # Q03
    provision(database, "CP1")
    charger = Charger(HeartbeatInterval="60")
    charger.says = says
    async with following(database, charger) as follow:
        await followed(follow, charger)
        assert wishes(database) == {"HeartbeatInterval": ("300", state, 0)}
        await followed(follow, charger)
        assert bool(charger.changed()) is (state == "open")


@pytest.mark.parametrize(("before", "after"), {"5": "60", "900": "60", "0": "60", "30": "30", "45": "45"}.items())
async def test_the_sampling_interval_is_set_after_the_first_boot_only(  # C06
    database: Database, before: str, after: str
) -> None:
    provision(database, "CP1")
    charger = Charger(MeterValueSampleInterval=before)
    async with following(database, charger) as follow:
        await followed(follow, charger)
        assert charger.settings["MeterValueSampleInterval"] == after


async def test_a_sampling_interval_that_we_met_with_is_its_operators_business(database: Database) -> None:  # C06
    provision(database, "CP1")
    charger = Charger(MeterValueSampleInterval="45")
    async with following(database, charger) as follow:
        await followed(follow, charger)
        charger.settings["MeterValueSampleInterval"] = "900"
        await followed(follow, charger)
        assert charger.changed() == {}


async def test_a_station_that_tells_nothing_of_itself_is_asked_by_name_as_it_can(database: Database) -> None:  # C09
    provision(database, "CP1")
    charger = Charger(GetConfigurationMaxKeys="1", HeartbeatInterval="60")
    async with following(database, charger) as follow:
        await followed(follow, charger)  # from now on it is known that it takes one key at once
        charger.most_keys = 1
        charger.settings["HeartbeatInterval"] = "61"
        await followed(follow, charger)
        assert charger.asked() == [("HeartbeatInterval",), ("WebSocketPingInterval",), ("HeartbeatInterval",)]
    provision(database, "CP2")
    silent = Charger(HeartbeatInterval="60")
    silent.tells_all = False
    async with following(database, silent) as follow:
        await followed(follow, silent, "CP2")
        assert silent.asked()[:2] == [(), ("HeartbeatInterval", "WebSocketPingInterval")]
        assert silent.changed() == {"HeartbeatInterval": "300"}


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
    async with following(database, charger, at_once=4, rest_s=0.0) as follow:
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


async def test_what_one_station_tells_harms_none_of_those_that_are_written_with_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:  # X07
    names = [f"CP{number}" for number in range(12)]
    provision(database, *names)
    to_change = boot_settings.to_change

    def failing(connection: Any, station_id: str, *rest: Any) -> Any:
        if station_id == "CP5":
            raise ValueError("what CP5 tells cannot be kept")
        return to_change(connection, station_id, *rest)

    monkeypatch.setattr(boot_settings, "to_change", failing)
    charger = Charger(HeartbeatInterval="1")
    async with following(database, charger, settle_s=(0.0, 0.0)) as follow:
        for name in names:
            follow.booted(name, ACCEPTED)
        async with asyncio.timeout(30):
            while len(kept(database)) < 11:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    assert sorted(kept(database)) == sorted(set(names) - {"CP5"})


def kept(database: Database) -> Sequence[str]:
    with database.read() as connection:
        return connection.execute(select(DesiredSetting.station_id)).scalars().all()


async def test_after_so_many_stations_there_is_a_rest(database: Database) -> None:  # X07
    names = [f"CP{number}" for number in range(9)]
    provision(database, *names)
    charger = Charger(HeartbeatInterval="300")
    async with following(database, charger, settle_s=(0.0, 0.0), at_once=4, rest_s=3600.0) as follow:
        for name in names:
            follow.booted(name, ACCEPTED)
        await sent(charger, 4)
        await asyncio.sleep(0.2)
        assert {command.station_id for command in charger.sent} <= set(names)
        assert len({command.station_id for command in charger.sent}) == 4


async def test_while_many_boot_what_follows_waits(database: Database) -> None:  # X07
    names = [f"CP{number}" for number in range(40)]
    provision(database, *names)
    charger = Charger(HeartbeatInterval="300")
    async with following(database, charger, settle_s=(0.0, 0.0), at_once=1, rest_s=0.05) as follow:
        until = asyncio.get_running_loop().time() + 1.0
        while asyncio.get_running_loop().time() < until:
            for name in names:
                follow.booted(name, ACCEPTED)
            await asyncio.sleep(0)
        assert len({command.station_id for command in charger.sent}) <= 1
        await sent(charger, 3)
