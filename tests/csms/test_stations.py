"""Who a station is, whether it may come in, and when it was here."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from csms import stations
from csms.bus import Admission, ConnectionClosed, ConnectionOpened
from csms.database import Database
from csms.events import ConnectorStatus, RegistrationStatus
from csms.models import Alert, Connection, JournalEntry, Station, StationBoot
from csms.passwords import verify
from csms.presence import SEEN_EVERY_S
from csms.stations import Binding, UnknownStation, bind, last_gap
from csms.strangers import KNOCKED_FOR_S, STRANGERS_AT_MOST, Knocking
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told

ACCEPTED, PENDING, REJECTED = RegistrationStatus.ACCEPTED, RegistrationStatus.PENDING, RegistrationStatus.REJECTED


def opened(story: Story, name: str, station_id: str = "CP1", at: datetime | None = None) -> ConnectionOpened:
    told_of = ConnectionOpened(
        connection_id=name, station_id=station_id, ocpp_version="1.6", peer="10.0.0.7", opened_at=at or story.now
    )
    story.csms.stations.opened(told_of)
    return told_of


def closed(story: Story, name: str, station_id: str = "CP1", heard: datetime | None = None) -> None:
    gone = ConnectionClosed(
        connection_id=name, station_id=station_id, closed_at=story.now, last_frame_at=heard or story.now, code=1006
    )
    story.csms.stations.closed(gone)


def station(story: Story, station_id: str = "CP1") -> Station:
    (row,) = story.rows(Station, Station.station_id == station_id)
    return row  # type: ignore[no-any-return]


async def written(story: Story) -> None:
    """Until the core has written who came and went."""
    async with asyncio.timeout(30):
        while story.csms.stations.news():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# ---- identity (T1, B12, B13) ----------------------------------------------------------------------------------------

CASES = {
    "first boot": (None, "serial:s1|acme|x", Binding.FIRST),
    "the same box": ("serial:s1|acme|x", "serial:s1|acme|x", Binding.SAME),
    "another serial": ("serial:s1|acme|x", "serial:s2|acme|x", Binding.MISMATCH),
    "the serial is left out": ("serial:s1|acme|x", "model:acme|x", Binding.SAME),
    "a serial comes later": ("model:acme|x", "serial:s1|acme|x", Binding.REFINED),
    "another model without serial": ("model:acme|x", "model:acme|y", Binding.MISMATCH),
    "no serial and another model": ("serial:s1|acme|x", "model:other|y", Binding.MISMATCH),
    "the same serial, spelled anew": ("serial:s1|acme|x", "serial:s1|acme inc|x2", Binding.SAME),
    "a serial with another vendor": ("model:acme|x", "serial:s1|other|x", Binding.MISMATCH),
}


@pytest.mark.parametrize(("bound", "offered", "expected"), CASES.values(), ids=CASES)
def test_a_box_is_known_by_its_serial_else_vendor_and_model(  # B12
    bound: str | None, offered: str, expected: Binding
) -> None:
    assert bind(bound, offered) is expected


POLICIES = {
    "strict": (REJECTED, True, "serial:s1|acme|x"),
    "warn": (ACCEPTED, False, "serial:s1|acme|x"),
    "off": (ACCEPTED, False, "serial:s2|acme|x"),
}


@pytest.mark.parametrize("policy", POLICIES)
async def test_another_box_under_a_known_identity_is_met_by_policy(database: Database, policy: str) -> None:  # T1, B12
    status, close, bound_to = POLICIES[policy]
    async with told(database) as story:
        story.site("STATION-7")
        with database.write() as connection:
            stations.set_binding(connection, "STATION-7", policy)
        assert (await story.boot("STATION-7", serial_number="S1", firmware_version="1.0")).status is ACCEPTED
        for _ in range(3):
            reply = await story.boot("STATION-7", serial_number="S2", firmware_version="6.6")
        assert (reply.status, reply.close) == (status, close)
        row = station(story, "STATION-7")
        assert row.fingerprint == bound_to
        if policy == "strict":  # an impostor changes nothing of the real one
            assert (row.serial_number, row.firmware_version, row.registered) == ("S1", "1.0", "accepted")
        if policy != "off":
            (alert,) = story.rows(Alert, Alert.kind == "identity_mismatch")
            assert (alert.detail["bound_to"], alert.detail["offered"]) == ("serial:s1|acme|x", "serial:s2|acme|x")


async def test_after_an_exchange_of_hardware_the_operator_binds_anew(database: Database) -> None:  # B12
    async with told(database) as story:
        story.site("STATION-7")
        await story.boot("STATION-7", serial_number="S1")
        assert (await story.boot("STATION-7", serial_number="S2")).status is REJECTED
        with database.write() as connection:
            stations.rebind(connection, "STATION-7")
        assert (await story.boot("STATION-7", serial_number="S2")).status is ACCEPTED
        assert station(story, "STATION-7").fingerprint == "serial:s2|acme|x"


async def test_two_boxes_with_one_identity_are_an_alarm_once_a_day(database: Database) -> None:  # B13, T9
    async with told(database) as story:
        story.site("CP001")
        for n in range(3):
            story.csms.stations.duplicate("CP001", f"old-{n}", f"new-{n}")
        await written(story)
        (alert,) = story.rows(Alert, Alert.kind == "duplicate_identity")
        assert (alert.subject, alert.detail) == ("CP001", {"older": "old-0", "newer": "new-0"})


# ---- Boot (C01) -----------------------------------------------------------------------------------------------------


async def test_a_boot_is_answered_with_our_time_and_interval_and_kept_as_history(
    database: Database,
) -> None:  # C01, B08
    async with told(database) as story:
        story.site("CP1")
        reply = await story.boot(serial_number="S1", firmware_version="1.0", iccid="8931", imsi="2080")
        assert (reply.status, reply.current_time, reply.interval_s) == (ACCEPTED, NOON, 300)
        story.pass_time(hours=1)
        await story.boot(serial_number="S1", firmware_version="1.1")
        row = station(story)
        assert (row.vendor, row.model, row.serial_number, row.firmware_version) == ("Acme", "X", "S1", "1.1")
        assert (row.boot_epoch, row.booted_at) == (2, story.now)
        history = [(boot.firmware_version, boot.answer) for boot in story.rows(StationBoot)]
        assert history == [("1.0", "accepted"), ("1.1", "accepted")]


async def test_an_interval_of_its_own_is_told_to_a_station(database: Database) -> None:  # B08
    async with told(database) as story:
        story.site("CP1")
        with database.write() as connection:
            connection.execute(update(Station).values(heartbeat_interval_s=60))
        assert (await story.boot()).interval_s == 60


async def test_what_no_database_holds_as_text_is_kept_without_it(database: Database) -> None:  # D03, X05
    async with told(database) as story:
        story.site("CP1")
        reply = await story.boot(vendor="Ac\x00me\ud800", model="", serial_number="S\x001", firmware_version="v" * 5000)
        assert reply.status is ACCEPTED
        assert station(story).vendor.startswith("Acme")


# ---- strangers ------------------------------------------------------------------------------------------------------


async def test_a_stranger_waits_is_adopted_and_charges(database: Database) -> None:  # C01, B11
    async with told(database) as story:
        story.card()
        assert (await story.csms.stations.credentials("NEW-1")).admission is Admission.PENDING
        opened(story, "c1", "NEW-1")
        reply = await story.boot("NEW-1")
        assert (reply.status, 60 <= reply.interval_s <= 90, reply.close) == (PENDING, True, False)
        assert station(story, "NEW-1").connection_id == "c1"
        assert (await story.start(station_id="NEW-1")).authorization.status.value == "invalid"
        with database.write() as connection:
            assert stations.adopt(connection, "NEW-1", NOON)
            assert not stations.adopt(connection, "NEW-1", NOON)
        assert (await story.boot("NEW-1")).status is ACCEPTED
        story.pass_time(minutes=1)
        assert (await story.start(station_id="NEW-1")).authorization.status.value == "accepted"


async def test_the_strangers_who_may_wait_are_few(database: Database) -> None:
    async with told(database) as story:
        boots = [story.boot(f"NEW-{n}") for n in range(STRANGERS_AT_MOST + 20)]
        replies = await asyncio.gather(*boots)
        assert [reply.status for reply in replies].count(PENDING) == STRANGERS_AT_MOST
        assert len({reply.interval_s for reply in replies}) > 1  # X07: they do not all come back together
        assert [(r.status, r.close) for r in replies].count((REJECTED, True)) == 20
        assert len(story.rows(Station)) == STRANGERS_AT_MOST
        assert (await story.csms.stations.credentials("NEW-X")).admission is Admission.UNKNOWN


async def test_strangers_that_never_say_what_they_are_are_few_too(database: Database) -> None:
    async with told(database) as story:
        door = story.csms.stations
        names = [f"NEW-{n}" for n in range(STRANGERS_AT_MOST + 20)]
        let_in = [name for name in names if (await door.credentials(name)).admission is Admission.PENDING]
        assert len(let_in) == STRANGERS_AT_MOST
        opened(story, "first", let_in[0])
        assert (await door.credentials(let_in[0])).admission is Admission.PENDING  # one that comes back keeps its place
        assert (await door.credentials("NEW-X")).admission is Admission.UNKNOWN
        assert (await story.boot(let_in[1])).status is PENDING
        assert (await door.credentials("NEW-X")).admission is Admission.UNKNOWN  # a place is counted once
        closed(story, "first", let_in[0])
        assert (await door.credentials("NEW-X")).admission is Admission.PENDING
        opened(story, "known")
        with database.write() as connection:
            stations.provision(connection, "CP1", None, NOON)
        assert (await door.credentials("CP1")).admission is Admission.KNOWN


def test_a_handshake_that_no_socket_followed_gives_its_place_back() -> None:
    knocking, waits = Knocking(), STRANGERS_AT_MOST - 2
    assert knocking.let_in("STAYS", 0.0, waiting=waits, stored=())
    assert knocking.let_in("GOES", 0.0, waiting=waits, stored=())
    knocking.opened("STAYS")
    assert not knocking.let_in("NEXT", KNOCKED_FOR_S / 2, waiting=waits, stored=())
    assert knocking.let_in("NEXT", KNOCKED_FOR_S, waiting=waits, stored=())
    assert set(knocking.names()) == {"STAYS", "NEXT"}


async def test_where_strangers_are_refused_none_is_kept(database: Database) -> None:
    async with told(database, unknown_stations="reject") as story:
        assert (await story.csms.stations.credentials("NEW-1")).admission is Admission.UNKNOWN
        assert (await story.boot("NEW-1")).status is REJECTED
        assert story.rows(Station) == []


async def test_an_operator_refuses_provisions_and_sets_passwords(database: Database) -> None:  # B11
    async with told(database) as story:
        with database.write() as connection:
            assert stations.provision(connection, "CP1", "secret", NOON)
            assert not stations.provision(connection, "CP1", None, NOON)
        credentials = await story.csms.stations.credentials("CP1")
        assert credentials.admission is Admission.KNOWN
        assert credentials.password_hash is not None
        assert verify(b"secret", credentials.password_hash)
        with database.write() as connection:
            stations.set_password(connection, "CP1", None)
            stations.refuse(connection, "CP1")
        assert (await story.csms.stations.credentials("CP1")) == type(credentials)(admission=Admission.REFUSED)
        assert (await story.boot()).close
        with database.write() as connection, pytest.raises(UnknownStation):
            stations.adopt(connection, "NOBODY", NOON)


# ---- presence (C02, T2) ---------------------------------------------------------------------------------------------


async def test_signs_of_life_are_written_together_and_never_go_back(database: Database) -> None:  # C02, T8
    async with told(database) as story:
        names = [f"CP{n}" for n in range(20)]
        story.site(*names)
        for second in range(5):
            for name in names:
                story.csms.stations.seen(name, NOON + timedelta(seconds=second))
        story.csms.stations.flush_seen()
        assert {row.last_seen_at for row in story.rows(Station)} == {NOON + timedelta(seconds=4)}
        story.csms.stations.seen("CP1", NOON)
        story.csms.stations.flush_seen()
        assert station(story).last_seen_at == NOON + timedelta(seconds=4)


async def test_signs_of_life_of_many_are_written_in_parts_spread_over_five_seconds(
    database: Database,
) -> None:  # C02, X07
    async with told(database) as story:
        names = [f"CP{n:04d}" for n in range(1_200)]
        with database.write() as connection:
            stations.provision_all(connection, dict.fromkeys(names), NOON)
        here = story.csms.stations
        assert here.flush_some_seen() == SEEN_EVERY_S
        for name in names:
            here.seen(name, NOON)
        written = []
        for _ in range(3):
            assert here.flush_some_seen() == SEEN_EVERY_S / 3
            here.seen("CP0000", NOON + timedelta(seconds=1))  # said meanwhile: its turn comes after the others'
            written.append(sum(row.last_seen_at == NOON for row in story.rows(Station)))
        assert written == [500, 1_000, 1_200]
        assert here.flush_some_seen() == SEEN_EVERY_S
        assert station(story, "CP0000").last_seen_at == NOON + timedelta(seconds=1)


async def test_the_newest_connection_counts_whatever_the_older_one_does(database: Database) -> None:  # T9, X11
    async with told(database) as story:
        story.site("CP1")
        opened(story, "c1")
        opened(story, "c2")
        closed(story, "c1")
        await written(story)
        assert (station(story).connection_id, station(story).offline_since) == ("c2", None)
        story.pass_time(seconds=10)
        closed(story, "c2", heard=NOON)
        await written(story)
        row = station(story)
        assert (row.connection_id, row.offline_since, row.last_seen_at) == (None, story.now, NOON)
        assert [(c.connection_id, c.close_code) for c in story.rows(Connection)] == [("c1", 1006), ("c2", 1006)]


async def test_news_that_cannot_be_stored_stands_before_nothing(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        opened(story, None)  # type: ignore[arg-type]
        opened(story, "c1")
        opened(story, "c1")
        assert (await story.boot()).status is ACCEPTED
        await written(story)
        assert [row.connection_id for row in story.rows(Connection)] == ["c1"]
        assert station(story).connection_id == "c1"


async def test_the_window_without_a_connection_is_known_and_kill_9_leaves_no_open_socket(database: Database) -> None:
    async with told(database) as story:  # T2
        story.site("CP1")
        opened(story, "c1")
        story.csms.stations.seen("CP1", NOON + timedelta(minutes=5))
        await written(story)
        story.csms.stations.flush_seen()
    async with told(database) as story:  # the process died: nobody closed the socket
        story.now = NOON + timedelta(minutes=30)
        story.csms.stations.close_stale()
        (row,) = story.rows(Connection)
        assert (row.closed_at, row.last_frame_at) == (story.now, NOON + timedelta(minutes=5))
        assert (station(story).connection_id, station(story).offline_since) == (None, story.now)
        opened(story, "c2")
        await written(story)
        with database.read() as connection:
            inside = last_gap(connection, "CP1", NOON + timedelta(minutes=10))
            before = last_gap(connection, "CP1", NOON + timedelta(minutes=3))
            never_seen = last_gap(connection, "CP1", NOON - timedelta(days=3))
            since = last_gap(connection, "CP1", story.now + timedelta(minutes=1))
        assert inside is not None
        assert (inside.since, inside.until) == (NOON + timedelta(minutes=5), story.now)
        assert before is None
        assert never_seen is not None
        assert never_seen.since is None
        assert since is None


async def test_a_station_away_for_a_minute_is_told_and_told_back(database: Database) -> None:  # LO-63, B09
    async with told(database) as story:
        story.site("CP1")
        opened(story, "c1")
        closed(story, "c1")
        await written(story)
        watch = Watch(database, wake=lambda: None, clock=lambda: story.now)  # type: ignore[arg-type]
        story.pass_time(seconds=59)
        assert watch.apply("offline_stations") == 0
        story.pass_time(seconds=2)
        assert watch.apply("offline_stations") == 3  # the station and its two EVSEs
        assert watch.apply("offline_stations") == 0
        assert station(story).offline_told
        opened(story, "c2")
        await written(story)
        assert not station(story).offline_told
        facts = [entry.type for entry in story.rows(JournalEntry)]
        assert facts == ["station_offline", "evse_status", "evse_status"] + ["station_online"] + ["evse_status"] * 2


@pytest.mark.parametrize(
    ("off", "follows"), [(timedelta(seconds=2), True), (timedelta(minutes=2), False), (timedelta(days=-3000), False)]
)
async def test_the_first_word_after_a_boot_says_whether_a_station_took_our_time(
    database: Database, off: timedelta, follows: bool
) -> None:  # F02
    async with told(database) as story:
        story.site("CP1")

        def marked() -> bool | None:
            (station,) = story.rows(Station)
            return station.keeps_our_time  # type: ignore[no-any-return]

        assert (await story.boot()).current_time == story.now
        assert marked() is None
        await story.status(ConnectorStatus.AVAILABLE, at=story.now + off)
        assert marked() is follows
        await story.boot()
        assert marked() is None


async def test_stations_that_come_at_once_are_each_told_their_own(database: Database) -> None:  # X07
    async with told(database) as story:
        door, names = story.csms.stations, [f"CP-{n}" for n in range(40)]
        with database.write() as connection:
            for name in names:
                stations.provision(connection, name, f"key-of-{name}-00000", NOON)
            stations.refuse(connection, names[7])
        found = await asyncio.gather(*(door.credentials(name) for name in [*names, "NEW-1", "NEW-2"]))
        assert [known.admission for known in found[40:]] == [Admission.PENDING, Admission.PENDING]
        assert found[7].admission is Admission.REFUSED
        for name, known in zip(names, found, strict=False):
            assert known.password_hash is not None
            assert verify(f"key-of-{name}-00000".encode(), known.password_hash)
