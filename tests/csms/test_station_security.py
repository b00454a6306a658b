"""Passwords change without locking their station out, profiles only rise, and what stations tell of their security is kept."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, update

from csms import models, station_security, stations
from csms.commands import Answer, ChangeConfiguration, Outcome
from csms.database import Database
from csms.events import SecurityEventReported
from csms.models import Alert, JournalEntry, RemoteRequest, SecurityEvent, Station, StationCertificate, StationSecurity
from csms.passwords import verify
from csms.requests import SEALED, PlainSecret, enqueue
from csms.sealing import SealBroken, Vault
from csms.station_security import NotNow, reveal, rotate_password, upgrade_profile, was_configured
from csms.stations import UnknownStation
from tests.csms.core_story import NOON, told
from tests.csms.gateway.gateway_rig import until
from tests.csms.secure_story import VAULT, Charger, secure

KEY = "00112233445566778899aabbccddeeff"


@pytest.fixture
def cp1(database: Database) -> Database:
    """A database with one station and its password."""
    with database.write() as connection:
        stations.provision(connection, "CP1", "old", NOON)
    return database


def security(database: Database) -> Any:
    with database.read() as connection:
        return connection.execute(select(StationSecurity.__table__)).one()


def rotate(connection: Connection, vault: Vault = VAULT) -> str:
    return rotate_password(connection, "CP1", vault=vault, requested_by="cli:test", now=NOON)


def command_of(connection: Connection, request_id: str) -> ChangeConfiguration:
    row = connection.execute(select(RemoteRequest.command).where(RemoteRequest.id == request_id)).scalar_one()
    return ChangeConfiguration(station_id="CP1", key=row["key"], value=row["value"])


def answered(connection: Connection, command: ChangeConfiguration, outcome: Outcome) -> None:
    was_configured(connection, "id", command, Answer(outcome=outcome), NOON)


# ---- a new password (X15) -------------------------------------------------------------------------------------------


async def test_a_password_is_changed_while_both_are_good_and_then_the_old_one_is_dead(  # X15, TC_073_CSMS
    database: Database, tmp_path: Path
) -> None:
    async with secure(database, tmp_path) as story:
        story.site("CP1", password="old")
        charger, late = Charger(story, password="old"), Charger(story, password="old")
        async with charger.connected():
            request_id = story.verb(rotate_password, "CP1", vault=VAULT)
            id_, asked = await charger.hear("ChangeConfiguration")
            assert asked["key"] == "AuthorizationKey"
            assert len(bytes.fromhex(asked["value"])) == 16
            [request] = story.rows(RemoteRequest, RemoteRequest.id == request_id)
            assert asked["value"] not in str(request)  # sent, and stored nowhere
            await charger.answer(id_, status="Accepted")
            await until(lambda: story.rows(RemoteRequest)[0].state == "accepted")
            assert story.rows(RemoteRequest)[0].command["value"] == "[redacted]"
        assert await late.refused() == 101  # it has not restarted yet
        charger.password = asked["value"]
        assert await charger.refused() == 101
        assert await late.refused() == 401
        assert await charger.refused() == 101
        row = security(database)
        assert (row.next_password_hash, row.next_password_sealed, row.next_password_taken) == (None, None, False)
        assert [entry.subject for entry in story.rows(JournalEntry, JournalEntry.type == "password_changed")] == ["CP1"]
        assert [c.security_profile for c in story.rows(models.Connection)] == [2, 2, 2, 2]


async def test_a_station_that_refuses_the_new_password_keeps_the_old_one(
    database: Database, tmp_path: Path
) -> None:  # X15
    async with secure(database, tmp_path) as story:
        story.site("CP1", password="old")
        charger = Charger(story, password="old")
        async with charger.connected():
            story.verb(rotate_password, "CP1", vault=VAULT)
            id_, asked = await charger.hear("ChangeConfiguration")
            await charger.answer(id_, status="NotSupported")
            await until(lambda: story.rows(RemoteRequest)[0].state == "rejected")
        assert security(database).next_password_hash is None
        assert await charger.refused() == 101
        charger.password = asked["value"]
        assert await charger.refused() == 401


@pytest.mark.parametrize(
    ("outcomes", "kept"),
    [
        ([Outcome.REJECTED], False),
        ([Outcome.NOT_SUPPORTED], False),
        ([Outcome.OFFLINE], False),
        ([Outcome.ACCEPTED], True),
        ([Outcome.REBOOT_REQUIRED], True),
        ([Outcome.TIMEOUT], True),
        ([Outcome.FAILED], True),
        ([Outcome.TIMEOUT, Outcome.REJECTED], True),  # it may have taken it the first time
        ([Outcome.ACCEPTED, Outcome.OFFLINE], True),
    ],
)
def test_a_password_that_the_station_may_hold_is_never_dropped(  # X15
    cp1: Database, outcomes: list[Outcome], kept: bool
) -> None:
    with cp1.write() as connection:
        for outcome in outcomes:
            answered(connection, command_of(connection, rotate(connection)), outcome)
    row = security(cp1)
    assert (row.next_password_hash is not None, row.next_password_taken) == (kept, kept)


def test_while_one_is_under_way_the_same_password_is_sent_again(cp1: Database) -> None:
    with cp1.write() as connection:
        sent = []
        for _ in range(2):
            command = command_of(connection, rotate(connection))
            answered(connection, command, Outcome.TIMEOUT)
            opened = reveal(command, VAULT)
            assert isinstance(opened, ChangeConfiguration)
            sent.append(opened.value)
    assert sent[0] == sent[1]
    assert verify(sent[0].encode(), security(cp1).next_password_hash)


def test_a_password_sealed_with_another_key_is_sent_by_nobody(cp1: Database) -> None:
    with cp1.write() as connection:
        command = command_of(connection, rotate(connection))
        for vault in (None, Vault("another key")):
            with pytest.raises(SealBroken):
                reveal(command, vault)
        rotate(connection, Vault("another key"))  # the first was never sent: another is made
        taken = command_of(connection, rotate(connection, Vault("another key")))
        answered(connection, taken, Outcome.ACCEPTED)
        with pytest.raises(NotNow, match="connect again first"):
            rotate(connection)


async def test_a_password_that_could_not_be_opened_was_not_sent(database: Database) -> None:  # X15
    async with told(database) as story:  # it has no vault
        story.site("CP1", password="old")
        with database.write() as connection:
            request_id = rotate(connection)
            command = command_of(connection, request_id)
        await story.csms.remote._carry(request_id, command, 30.0)
        assert story.sent == []
        assert security(database).next_password_hash is None
        with database.write() as connection:
            rotate(connection, Vault("another key"))  # nothing stands in its way


def test_a_secret_is_never_kept_readable_until_it_is_sent(cp1: Database) -> None:
    for key in ("AuthorizationKey", "authorizationKEY ", "Wifi_Password"):
        command = ChangeConfiguration(station_id="CP1", key=key, value=KEY)
        with cp1.write() as connection, pytest.raises(PlainSecret):
            enqueue(connection, command, requested_by="cli:eve", now=NOON, timeout_s=30)
    sealed = ChangeConfiguration(station_id="CP1", key="Wifi_Password", value=SEALED + VAULT.seal(KEY))
    opened = reveal(sealed, VAULT)
    assert isinstance(opened, ChangeConfiguration)
    assert opened.value == KEY


def test_a_password_that_is_set_ends_the_change(cp1: Database) -> None:
    with cp1.write() as connection:
        rotate(connection)
        stations.set_password(connection, "CP1", "third")
    row = security(cp1)
    assert (row.next_password_hash, row.next_password_sealed) == (None, None)


def test_only_a_station_that_is_in_gets_a_new_password(cp1: Database) -> None:
    with cp1.write() as connection:
        with pytest.raises(UnknownStation):
            rotate_password(connection, "CP9", vault=VAULT, requested_by="cli:test", now=NOON)
        stations.refuse(connection, "CP1")
        with pytest.raises(NotNow, match="refused"):
            rotate(connection)


# ---- a higher profile -----------------------------------------------------------------------------------------------


async def test_a_profile_is_demanded_once_the_station_has_come_with_it(
    database: Database, tmp_path: Path
) -> None:  # TC_083_CSMS
    async with secure(database, tmp_path) as story:
        story.site("CP1")
        charger = Charger(story)
        async with charger.connected():
            with database.write() as connection:
                connection.execute(update(Station).values(password_hash=None))
            with pytest.raises(NotNow, match="needs a password"):
                story.verb(upgrade_profile, "CP1", 2, tls=True)
            story.verb(rotate_password, "CP1", vault=VAULT)
            id_, asked = await charger.hear("ChangeConfiguration")
            await charger.answer(id_, status="Accepted")
            await until(lambda: story.rows(RemoteRequest)[0].state == "accepted")
            story.verb(upgrade_profile, "CP1", 2, tls=True)
            id_, profile = await charger.hear("ChangeConfiguration")
            assert profile == {"key": "SecurityProfile", "value": "2"}
            await charger.answer(id_, status="Accepted")
            await until(lambda: security(database).next_profile == 2)
        assert security(database).profile == 0
        assert await charger.refused() == 101  # it is not locked out before it has changed
        with_password = Charger(story, password=asked["value"])
        assert await with_password.refused() == 101
        assert (security(database).profile, security(database).next_profile) == (2, None)
        assert await charger.refused() == 401
        [raised] = story.rows(JournalEntry, JournalEntry.type == "security_profile_raised")
        assert (raised.subject, raised.data) == ("CP1", {"profile": 2})


def test_what_would_lead_nowhere_is_not_asked(cp1: Database) -> None:
    def upgrade(profile: int, tls: bool = True) -> str:
        return upgrade_profile(connection, "CP1", profile, tls=tls, requested_by="cli:test", now=NOON)

    with cp1.write() as connection:
        for profile, tls, why in [(2, False, "wss"), (3, True, "client certificate"), (4, True, "no profile 4")]:
            with pytest.raises(NotNow, match=why):
                upgrade(profile, tls)
        upgrade(1)
        station_security.require_profile(connection, "CP1", 2)
        for profile in (0, 1, 2):
            with pytest.raises(NotNow, match="only rises"):
                upgrade(profile)
        connection.execute(
            insert(StationCertificate).values(
                station_id="CP1",
                event_id="e",
                csr="",
                state="installed",
                requested_at=NOON,
                expires_at=NOON.replace(year=2027),
            )
        )
        upgrade(3)


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.NOT_SUPPORTED, Outcome.OFFLINE, Outcome.TIMEOUT])
def test_a_profile_that_the_station_did_not_promise_is_not_demanded(cp1: Database, outcome: Outcome) -> None:
    with cp1.write() as connection:
        request = upgrade_profile(connection, "CP1", 2, tls=True, requested_by="cli:test", now=NOON)
        answered(connection, command_of(connection, request), outcome)
    assert (security(cp1).profile, security(cp1).next_profile) == (0, None)


def test_a_promise_of_less_than_what_is_demanded_changes_nothing(cp1: Database) -> None:
    with cp1.write() as connection:
        station_security.require_profile(connection, "CP1", 3)
        answered(connection, ChangeConfiguration(station_id="CP1", key="SecurityProfile", value="1"), Outcome.ACCEPTED)
        with pytest.raises(NotNow):
            station_security.require_profile(connection, "CP1", 4)
    assert (security(cp1).profile, security(cp1).next_profile) == (3, None)


# ---- who may connect ------------------------------------------------------------------------------------------------


async def test_the_door_learns_all_of_a_station_in_one_question(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", password="old")
        await story.boot("CP1", vendor="Acme", model="X", serial_number="SN-1", firmware_version="2.1")
        with database.write() as connection:
            rotate(connection)
            station_security.require_profile(connection, "CP1", 2)
            for number, state in enumerate(("revoked", "installed", "revoked")):
                values = {"event_id": str(number), "state": state, "fingerprint": f"f{number}"}
                connection.execute(
                    insert(StationCertificate).values(station_id="CP1", csr="", requested_at=NOON, **values)
                )
        known = await story.csms.stations.credentials("CP1")
        assert (known.vendor, known.model, known.serial_number, known.firmware_version) == ("Acme", "X", "SN-1", "2.1")
        assert (known.least_profile, known.revoked) == (2, frozenset({"f0", "f2"}))
        assert known.password_hash is not None
        assert verify(b"old", known.password_hash)
        assert known.next_password_hash is not None


# ---- security events ------------------------------------------------------------------------------------------------


async def test_security_events_are_kept_and_the_critical_ones_alerted(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        kinds = ("TamperDetectionActivated", "InvalidChargePointCertificate", "AcmeOwnEvent")
        reported = [
            SecurityEventReported(
                station_id="CP1",
                ocpp_version="1.6",
                received_at=story.now,
                occurred_at=story.now,
                kind=kind,
                tech_info="lid",
            )
            for kind in kinds
        ]
        for event in (*reported, reported[0]):
            await story.csms.report(event)
        assert [(row.kind, row.critical) for row in story.rows(SecurityEvent)] == list(
            zip(kinds, (True, False, False), strict=True)
        )
        facts = story.rows(JournalEntry, JournalEntry.type == "security_event")
        assert [(fact.subject, fact.data["kind"]) for fact in facts] == [(e.event_id, e.kind) for e in reported]
        [alert] = story.rows(Alert)
        assert (alert.kind, alert.station_id, alert.detail) == (
            "security_event",
            "CP1",
            {"reported": "TamperDetectionActivated"},
        )


async def test_a_flood_of_security_events_is_one_alert_and_hides_no_critical_one(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")

        def event(kind: str) -> SecurityEventReported:
            return SecurityEventReported(station_id="CP1", ocpp_version="1.6", received_at=story.now, kind=kind)

        with database.write() as connection:
            kept = {"station_id": "CP1", "kind": "InvalidMessages", "critical": False, "received_at": NOON}
            rows = [{"event_id": str(number), **kept} for number in range(station_security.KEPT_A_DAY - 1)]
            connection.execute(insert(SecurityEvent), rows)
        for kind in ("InvalidMessages", "InvalidMessages", "TamperDetectionActivated", "InvalidMessages"):
            await story.csms.report(event(kind))
        assert len(story.rows(SecurityEvent)) == station_security.KEPT_A_DAY
        assert len(story.rows(JournalEntry, JournalEntry.type == "security_event")) == 1
        assert {alert.kind for alert in story.rows(Alert)} == {"security_events_flood", "security_event"}
        story.pass_time(days=1, seconds=1)
        await story.csms.report(event("InvalidMessages"))
        assert len(story.rows(SecurityEvent)) == station_security.KEPT_A_DAY + 1
