"""A station's settings: read as far as it tells, set as far as it takes, and the difference shown."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from csms import boot_settings, configuration, setting_values
from csms.commands import (
    Answer,
    ChangeConfiguration,
    Command,
    ConfigurationAnswer,
    ConfigurationSetting,
    GetConfiguration,
    Outcome,
)
from csms.configuration import NotWritable, Unwise
from csms.database import Database
from csms.journal import Wake
from csms.models import ActualSetting, Alert, DesiredSetting, RemoteRequest, Station
from csms.remote import RemoteControl
from csms.requests import REDACTED, SEALED, enqueue
from csms.sealing import Vault
from csms.stations import UnknownStation
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

VAULT = Vault("a key that only the tests have")


class Charger:
    """Answers what is queued, as it would over the wire."""

    def __init__(self, story: Story, **settings: str) -> None:
        self.story = story
        self.settings: dict[str, str] = settings
        self.readonly: tuple[str, ...] = ()
        self.says = Outcome.ACCEPTED
        self.keeps = True
        self.sent: list[Command[Any]] = []
        self.control = RemoteControl(
            story.database, send=self._send, wake=Wake(), clock=lambda: story.now, poll_s=0.001, vault=VAULT
        )

    async def _send(self, command: Any, *, timeout_s: float) -> Any:
        self.sent.append(command)
        if isinstance(command, GetConfiguration):
            keys = command.keys or tuple(self.settings)
            rows = [
                ConfigurationSetting(key=key, value=self.settings[key], readonly=key in self.readonly)
                for key in keys
                if key in self.settings
            ]
            unknown = tuple(key for key in keys if key not in self.settings)
            return ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=tuple(rows), unknown=unknown)
        if isinstance(command, ChangeConfiguration) and self.keeps and self.says is Outcome.ACCEPTED:
            self.settings[command.key] = command.value
        return Answer(outcome=self.says, detail=self.says.value)

    async def answers(self) -> list[Command[Any]]:
        """Until nothing is queued any more, what follows from answers included; what it was sent."""
        self.sent.clear()
        while taken := self.control._take_queued():
            for request_id, command, timeout_s in taken:
                await self.control._carry(request_id, command, timeout_s)
        return list(self.sent)


def read(story: Story, *keys: str) -> tuple[str, ...]:
    with story.database.write() as connection:
        return configuration.read(connection, "CP1", requested_by="cli:eve", now=story.now, keys=keys)


def wish(story: Story, key: str, value: str, **options: Any) -> str:
    with story.database.write() as connection:
        return configuration.wish(connection, "CP1", key, value, wished_by="cli:eve", now=story.now, **options)


def actual(story: Story) -> dict[str, Any]:
    return {row.key: row.value for row in story.rows(ActualSetting)}


def wished(story: Story) -> tuple[str, int, str | None]:
    [row] = story.rows(DesiredSetting)
    return row.state, row.tries, row.detail


def drift(story: Story) -> list[tuple[str, str, str | None, str]]:
    with story.database.read() as connection:
        return [(row.key, row.desired, row.actual, row.state) for row in configuration.drift(connection)]


# ---- reading (C09) ----------------------------------------------------------------------------------------------------


async def test_all_settings_are_read_and_no_secret_is_kept(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, HeartbeatInterval="300", AuthorizationKey="hunter2", WifiPassword="hunter3")
        charger.readonly = ("HeartbeatInterval",)
        [request_id] = read(story)
        await charger.answers()
        assert actual(story) == {"HeartbeatInterval": "300", "AuthorizationKey": None, "WifiPassword": None}
        [row] = story.rows(RemoteRequest)
        assert (row.id, row.state, row.requested_by) == (request_id, "accepted", "cli:eve")
        assert "hunter" not in str(row)
        assert {r.key for r in story.rows(ActualSetting) if r.readonly} == {"HeartbeatInterval"}
        with pytest.raises(UnknownStation), database.write() as connection:
            configuration.read(connection, "CP9", requested_by="cli:eve", now=NOON)


async def test_as_many_keys_are_asked_at_once_as_the_station_takes(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, GetConfigurationMaxKeys="2", A="1", B="2", C="3")
        assert len(read(story, "A", "B", "C", "D", "E")) == 1  # nothing is known of it yet
        await charger.answers()
        read(story)
        await charger.answers()
        assert len(read(story, "A", "B", "C", "D", "E")) == 3
        assert [command.keys for command in await charger.answers()] == [("A", "B"), ("C", "D"), ("E",)]  # type: ignore[attr-defined]


async def test_a_key_that_is_gone_is_forgotten_and_an_empty_answer_forgets_nothing(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, HeartbeatInterval="300", Old="1", Older="2")
        read(story)
        await charger.answers()
        del charger.settings["Old"]
        read(story, "Old", "Never")
        await charger.answers()
        assert actual(story) == {"HeartbeatInterval": "300", "Older": "2"}
        del charger.settings["Older"]
        read(story)
        await charger.answers()
        assert actual(story) == {"HeartbeatInterval": "300"}
        charger.settings.clear()
        read(story)
        asked = await charger.answers()
        assert [bool(command.keys) for command in asked] == [False, True]  # type: ignore[attr-defined]
        assert actual(story) == {}  # asked by name, it said that it knows none of them


async def test_a_key_is_the_same_in_any_case_and_said_twice_is_one(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        answers = (("heartbeatInterval", "10"), ("HeartbeatInterval", "20"))
        rows = tuple(ConfigurationSetting(key=key, value=value) for key, value in answers)
        with database.write() as connection:
            for each in (rows, rows[:1]):
                answer = ConfigurationAnswer(outcome=Outcome.ACCEPTED, settings=each)
                configuration.told(connection, "CP1", answer, NOON)
        assert list(actual(story).values()) == ["10"]


# ---- setting (C09) ----------------------------------------------------------------------------------------------------


async def test_what_is_wished_is_set_and_read_back(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, ConnectionTimeOut="60")
        wish(story, "ConnectionTimeOut", "90")
        assert drift(story) == [("ConnectionTimeOut", "90", None, "open")]
        change, readback = await charger.answers()
        assert isinstance(change, ChangeConfiguration)
        assert isinstance(readback, GetConfiguration)
        assert (change.key, change.value, readback.keys) == ("ConnectionTimeOut", "90", ("ConnectionTimeOut",))
        assert wished(story) == ("set", 0, None)
        assert drift(story) == []
        charger.settings["ConnectionTimeOut"] = "60"  # somebody turned it at the station
        read(story)
        await charger.answers()
        assert drift(story) == [("ConnectionTimeOut", "90", "60", "open")]


ANSWERS = {
    Outcome.REJECTED: "refused",
    Outcome.NOT_SUPPORTED: "unsupported",
    Outcome.REBOOT_REQUIRED: "reboot_required",
    Outcome.TIMEOUT: "open",
    Outcome.OFFLINE: "open",
    Outcome.FAILED: "open",
}


@pytest.mark.parametrize(("says", "state"), ANSWERS.items())
async def test_what_a_station_makes_of_a_wish_is_kept(database: Database, says: Outcome, state: str) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, ConnectionTimeOut="60")
        charger.says = says
        wish(story, "ConnectionTimeOut", "90")
        assert len(await charger.answers()) == 1
        assert wished(story)[0] == state
        assert [row[3] for row in drift(story)] == [state]
        wish(story, "ConnectionTimeOut", "90")  # a person may ask again
        assert wished(story) == ("open", 0, None)


async def test_a_restart_shows_whether_it_took_the_value(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, WebSocketPingInterval="0")
        charger.says = Outcome.REBOOT_REQUIRED
        wish(story, "WebSocketPingInterval", "60")
        await charger.answers()
        read(story)
        await charger.answers()
        assert wished(story)[0] == "reboot_required"  # it has not booted yet
        story.pass_time(minutes=2)
        await story.boot()
        read(story)
        await charger.answers()
        assert wished(story)[0] == "open"
        charger.settings["WebSocketPingInterval"] = "60"
        read(story)
        await charger.answers()
        assert wished(story) == ("set", 0, None)


async def test_a_station_that_was_lost_before_it_answered_leaves_the_wish_open(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        wish(story, "ConnectionTimeOut", "90", timeout_s=5)
        story.pass_time(seconds=20)
        Watch(database, wake=Wake(), clock=lambda: story.now).apply("lost_requests")
        assert wished(story)[0] == "open"


async def test_what_cannot_be_set_is_refused_before_anything_is_sent(database: Database) -> None:  # C09, C06
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, NumberOfConnectors="2", AuthorizationKey="x")
        charger.readonly = ("NumberOfConnectors",)
        read(story)
        await charger.answers()
        for key, value in {
            "numberofconnectors": "3",
            "AuthorizationKey": "hunter2",
            "SecurityProfile": "3",
            "WifiPassword": "hunter2",
            "": "1",
            "K" * 51: "1",
            "Key": "v" * 501,
        }.items():
            with pytest.raises(NotWritable):
                wish(story, key, value)
        for key, value in (("MeterValueSampleInterval", "29"), ("metervaluesampleinterval", "0")):
            with pytest.raises(Unwise):
                wish(story, key, value)
        with pytest.raises(Unwise):
            wish(story, "ClockAlignedDataInterval", "5")
        with pytest.raises(UnknownStation), database.write() as connection:
            configuration.wish(connection, "CP9", "A", "1", wished_by="cli:eve", now=NOON)
        assert await charger.answers() == []
        assert story.rows(DesiredSetting) == []
        wish(story, "MeterValueSampleInterval", "5", sure=True)
        wish(story, "ClockAlignedDataInterval", "0")
        assert len(story.rows(DesiredSetting)) == 2
        with database.write() as connection:
            assert configuration.forget(connection, "CP1", "clockaligneddatainterval")
            assert not configuration.forget(connection, "CP1", "ClockAlignedDataInterval")


async def test_a_vendor_that_says_yes_and_does_no_is_asked_twice(database: Database) -> None:  # Q03
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, HeartbeatInterval="60")
        charger.keeps = False
        wish(story, "HeartbeatInterval", "300")
        await charger.answers()
        assert wished(story) == ("open", 1, "not kept")
        with database.write() as connection:
            plan = boot_settings.boot_plans(connection, ["CP1"], story.now)["CP1"]
            assert plan is not None
            [again] = boot_settings.to_change(connection, "CP1", plan, [], story.now)
            assert configuration.landed(connection, again, Answer(outcome=Outcome.ACCEPTED), story.now)
        read(story)
        await charger.answers()
        assert wished(story)[:2] == ("ignored", 2)
        for _ in range(3):
            read(story)
            await charger.answers()
            with database.write() as connection:
                assert boot_settings.to_change(connection, "CP1", plan, [], story.now) == []
        assert [(alert.kind, alert.subject) for alert in story.rows(Alert)] == [
            ("setting_ignored", "CP1 HeartbeatInterval")
        ]


async def test_an_alert_over_a_setting_shows_no_card(database: Database) -> None:  # Q03
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, FreevendIdTag="04FFFFFFFFFF")
        charger.keeps = False
        for _ in range(2):
            wish(story, "FreevendIdTag", "04A1B2C3D4E5")
            with database.write() as connection:
                connection.execute(update(DesiredSetting).values(tries=2))
            await charger.answers()
        [alert] = story.rows(Alert)
        assert alert.detail == {"key": "FreevendIdTag", "desired": "04…E5", "actual": "04…FF"}


@pytest.mark.parametrize(
    ("wanted", "has", "equal"),
    [
        ("60", " 60", True),
        ("60", "60.0", True),
        ("true", "TRUE", True),
        ("-1", "-1.0", True),
        ("60", None, False),
        ("60", "61", False),
        ("", "", True),
        ("1,2", "1,2", True),
        ("1e2", "100", False),
        ("Energy", "energy", True),
    ],
)
def test_values_that_mean_the_same_are_no_drift(wanted: str, has: str | None, equal: bool) -> None:  # C09
    assert setting_values.same(wanted, has) is equal


# ---- a limit without profiles (G10) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["MaxCurrent", "Ampere_Limit"])
async def test_a_limit_by_a_vendors_key_is_set_and_read_back(database: Database, key: str) -> None:  # G10
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, **{key: "32"})
        with database.write() as connection:
            connection.execute(update(Station).values(vendor="Acme", model="X", firmware_version="2.3"))
            asks: dict[str, Any] = {
                "key_of": lambda *said: key if (said, key) == (("Acme", "X", "2.3"), "Ampere_Limit") else None,
                "requested_by": "api:ems",
                "now": story.now,
            }
            configuration.throttle(connection, "CP1", Decimal("16.50"), **asks)
            for wrong in (-1, Decimal("NaN"), Decimal("Infinity")):
                with pytest.raises(NotWritable):
                    configuration.throttle(connection, "CP1", wrong, **asks)
        change, readback = await charger.answers()
        assert (change.key, change.value, readback.keys) == (key, "16.5", (key,))  # type: ignore[attr-defined]
        assert actual(story) == {key: "16.5"}


async def test_a_limit_that_was_taken_and_not_kept_is_seen(database: Database) -> None:  # G10
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story, MaxCurrent="32")
        charger.keeps = False
        with database.write() as connection:
            configuration.throttle(connection, "CP1", 10, key_of=lambda *_: None, requested_by="api:ems", now=story.now)
        await charger.answers()
        assert drift(story) == [("MaxCurrent", "10", "32", "open")]


# ---- samples (C06) ----------------------------------------------------------------------------------------------------


async def test_a_station_that_samples_too_finely_is_told_once_a_day(database: Database) -> None:  # C06
    async with told(database) as story:
        story.site("CP1", "CP2", "CP3")
        story.card()
        reply = await story.start()
        for second in range(0, 300, 10):  # every ten seconds
            await story.sample(reply.transaction_id, 1000 + second)
            if second % 30 == 0:
                await story.sample(None, 5, station_id="CP2")
            story.pass_time(seconds=10)
        for minute in range(40):  # what it kept while it was away, all at once
            at = story.now - timedelta(minutes=40 - minute)
            await story.sample(None, 5, station_id="CP3", at=at)
        watch = Watch(database, wake=Wake(), clock=lambda: story.now)
        watch.apply("sampled_too_often")
        watch.apply("sampled_too_often")
        [alert] = story.rows(Alert)
        assert (alert.kind, alert.subject) == ("samples_too_often", "CP1")
        assert alert.detail == {"evse": 1, "every_s": 10.0, "messages_per_s": 0.05}


async def test_a_station_that_is_not_ours_is_not_configured(database: Database) -> None:  # T1
    async with told(database) as story:
        story.site("CP1")
        with database.write() as connection:
            connection.execute(update(Station).values(admission="pending"))
            assert boot_settings.boot_plans(connection, ["CP1"], NOON) == {"CP1": None}
            assert connection.execute(select(Station.admission)).scalar() == "pending"


async def test_a_secret_that_was_sent_is_not_kept(database: Database) -> None:  # C09
    async with told(database) as story:
        story.site("CP1")
        charger = Charger(story)
        sealed = SEALED + VAULT.seal("hunter2")
        command = ChangeConfiguration(station_id="CP1", key="Wifi_Password", value=sealed)
        with database.write() as connection:
            enqueue(connection, command, requested_by="cli:eve", now=NOON, timeout_s=30)
        assert await charger.answers() == [msgspec.structs.replace(command, value="hunter2")]
        [row] = story.rows(RemoteRequest)
        assert row.command["value"] == REDACTED
