import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from crud import Crud
from crud.caller import Refusal
from crud.commands import CommandsCrud
from crud.models import CommandCallback
from csms.bus import Send
from csms.commands import (
    Answer,
    CancelReservation,
    Outcome,
    ReserveEvse,
    StartRemotely,
    StopRemotely,
    UnlockConnector,
)
from csms.journal import Listener
from csms.models import ActualSetting, Evse, RemoteRequest, Reservation, Station, Token
from csms.remote import RemoteControl
from tests.adapters.field_tables import problems, vector
from tests.adapters.rows import NOON, connector, evse, location, station, transaction
from tests.crud.network import OTHER, TNM, add, asked_by, partners, site

TOKEN = vector("tokens__put")
URL = "https://emsp.example/results/1?x=1"
SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"
START = {
    "response_url": URL,
    "token": TOKEN,
    "location_id": "loc1",
    "evse_uid": "cp001-2",
    "authorization_reference": "ref-9",
}
UNLOCK = {"response_url": URL, "location_id": "LOC1", "evse_uid": "CP001-2", "connector_id": "1"}


class Stations:
    """The charger's side: takes every command, and says what it was given."""

    def __init__(self) -> None:
        self.got = []

    async def send(self, command, *, timeout_s):
        self.got.append((command, timeout_s))
        return Answer(outcome=Outcome.ACCEPTED)


class Desk:
    """The commands module over a real remote control, and a partner that uses it."""

    def __init__(self, database):
        self.database = database
        self.stations = Stations()
        send: Send = self.stations.send
        self.settled = Listener()
        self.remote = RemoteControl(database, send=send, wake=self.settled.set, clock=self.now, poll_s=0.01)
        self.queue = asyncio.create_task(self.remote.run())
        commands = CommandsCrud(database, self.remote, url_allowed=self.url_allowed, clock=self.now)
        self.crud = Crud({"commands": commands})

    @staticmethod
    def now() -> datetime:
        return NOON

    async def url_allowed(self, url):
        return url.startswith("https://emsp.example/")

    async def asks(self, command, body, *, caller=TNM, **surroundings):
        with asked_by(caller, method="POST", body=body, **surroundings):
            response = await self.crud.do("commands", None, "SendCommand", {}, command=command, version="2.2.1")
        assert problems(response, "CommandResponse") == []
        return response["result"]

    async def sent(self):
        """The commands that reached a station, after each has its outcome."""
        async with asyncio.timeout(30):
            while not all(request.outcome for request in self.requests):
                await self.settled.news(poll_s=10, gather_s=0)
        return [command for command, _ in self.stations.got]

    def _rows(self, query):
        with self.database.read() as connection:
            return connection.execute(query).all()

    @property
    def callbacks(self):
        return self._rows(select(CommandCallback.__table__))

    @property
    def requests(self):
        return self._rows(select(RemoteRequest.__table__))

    @property
    def reservations(self):
        return self._rows(select(Reservation.__table__))

    @property
    def tokens(self):
        return self._rows(select(Token.__table__))


@pytest.fixture
async def desk(database):
    add(database, *partners())
    site(database)
    desk = Desk(database)
    yield desk
    await desk.sent()
    desk.queue.cancel()
    await asyncio.gather(desk.queue, return_exceptions=True)
    await desk.remote.stop()


# ---- START_SESSION --------------------------------------------------------------------------------------------------


async def test_a_start_is_accepted_at_once_and_sent_with_the_cards_own_uid(desk):  # CM-02, CM-21, LO-45
    assert await desk.asks("START_SESSION", START) == "ACCEPTED"

    (command,) = await desk.sent()
    (request,) = desk.requests
    (token,) = desk.tokens
    assert isinstance(command, StartRemotely)
    assert (command.station_id, command.evse, command.id_token) == ("CP001", 2, TOKEN["uid"])
    assert (request.token_id, request.requested_by, request.authorization_reference) == (token.id, "partner:1", "ref-9")
    assert (token.owner_id, token.contract_id) == (1, TOKEN["contract_id"])


async def test_where_the_result_must_go_is_kept_with_the_request(desk):  # CM-04, CM-07, RT-13
    await desk.asks("START_SESSION", START)

    (callback,) = desk.callbacks
    (request,) = desk.requests
    assert (callback.request_id, callback.partner_id, callback.command) == (request.id, 1, "START_SESSION")
    assert callback.response_url == URL
    assert (callback.country_code, callback.party_id, callback.sent_at) == ("NL", "TNM", None)


async def test_the_announced_timeout_outlasts_the_stations(desk):  # CM-06
    with asked_by(TNM, method="POST", body=START):
        response = await desk.crud.do("commands", None, "SendCommand", {}, command="START_SESSION")
    await desk.sent()

    ((_, timeout_s),) = desk.stations.got
    assert response["timeout"] > timeout_s
    assert desk.requests[0].deadline_at == NOON + timedelta(seconds=timeout_s)


async def test_an_invalid_unknown_or_long_token_may_start(desk):  # CM-21, CM-26
    body = START | {
        "token": TOKEN | {"uid": "bdf21bce-fc97-11e8-8eb2-f2801f1b9fd1", "type": "APP_USER", "valid": False}
    }

    assert await desk.asks("START_SESSION", body) == "ACCEPTED"

    (command,) = await desk.sent()
    assert len(command.id_token) <= 20
    assert desk.tokens[0].uid == "bdf21bce-fc97-11e8-8eb2-f2801f1b9fd1"
    assert desk.tokens[0].valid is False


async def test_a_start_does_not_undo_what_a_newer_push_said(desk):  # TK-07
    await desk.asks("START_SESSION", START)
    await desk.asks(
        "START_SESSION", START | {"token": TOKEN | {"valid": False, "last_updated": "2010-01-01T00:00:00Z"}}
    )

    assert [token.valid for token in desk.tokens] == [True]


async def test_another_partners_token_is_rejected(desk):  # CM-20, XT-06
    assert await desk.asks("START_SESSION", START, caller=OTHER) == "REJECTED"
    assert await desk.sent() == []
    assert desk.tokens == []


async def test_without_an_evse_the_one_with_a_car_is_chosen(desk):  # CM-23
    body = {name: value for name, value in START.items() if name != "evse_uid"}
    with desk.database.write() as connection:
        connection.execute(update(Evse).where(Evse.evse == 2).values(status="preparing"))

    assert await desk.asks("START_SESSION", body) == "ACCEPTED"
    (command,) = await desk.sent()
    assert command.evse == 2


@pytest.mark.parametrize("status", ["charging", "faulted", "unavailable", "reserved", None])
async def test_without_an_evse_and_none_free_it_is_rejected(desk, status):  # CM-23
    with desk.database.write() as connection:
        connection.execute(update(Evse).values(status=status))

    assert await desk.asks("START_SESSION", START | {"evse_uid": None}) == "REJECTED"
    assert await desk.sent() == []


@pytest.mark.parametrize(
    ("change", "result"),
    [({"evse_uid": "CP001-9"}, "REJECTED"), ({"connector_id": "9"}, "REJECTED"), ({"connector_id": "1"}, "ACCEPTED")],
)
async def test_unknown_places_in_a_known_location_are_rejected(desk, change, result):  # CM-09
    assert await desk.asks("START_SESSION", START | change) == result


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"location_id": "LOC9"}, 2003),
        ({"evse_uid": None, "connector_id": "1"}, 2001),
        ({"token": None}, 2001),
        ({"token": TOKEN | {"valid": "yes"}}, 2001),
        ({"response_url": "http://127.0.0.1/"}, 2001),
        ({"response_url": None}, 2001),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_is_sent(desk, change, code):  # CM-09, CM-23, TR-35
    with pytest.raises(Refusal) as refusal:
        await desk.asks("START_SESSION", START | change)

    assert (refusal.value.http_status, refusal.value.status_code) == (200, code)
    assert await desk.sent() == []
    assert desk.tokens == []


async def test_a_location_of_another_party_than_the_addressed_is_unknown(desk):  # RT-11
    with pytest.raises(Refusal) as refusal:
        await desk.asks("START_SESSION", START, to=("BE", "ABC"))
    assert refusal.value.status_code == 2003


@pytest.mark.parametrize("command", ["START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"])
async def test_an_offline_station_is_rejected(desk, command):  # CM-11
    add(desk.database, transaction(SESSION))
    with desk.database.write() as connection:
        connection.execute(update(Station).values(connection_id=None))

    body = {**START, **UNLOCK, "session_id": SESSION}
    assert await desk.asks(command, body) == "REJECTED"
    assert await desk.asks(command, body | {"evse_uid": "CP001-1"}) == "REJECTED"
    assert await desk.sent() == []


# ---- STOP_SESSION ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "reference", "sent"), [("active", None, "17"), ("orphaned", "tx-1", "tx-1")])
async def test_a_running_session_is_stopped_by_the_id_its_station_knows(desk, state, reference, sent):  # SE-09
    add(desk.database, transaction(SESSION, number=17, state=state, transaction_ref=reference))

    assert await desk.asks("STOP_SESSION", {"response_url": URL, "session_id": SESSION.upper()}) == "ACCEPTED"

    (command,) = await desk.sent()
    assert isinstance(command, StopRemotely)
    assert (command.station_id, command.transaction_ref) == ("CP001", sent)


async def test_the_result_goes_to_the_party_that_asked(desk):  # RT-13
    add(desk.database, transaction(SESSION))
    body = {"response_url": URL, "session_id": SESSION}

    await desk.asks("STOP_SESSION", body, sender=("NL", "TNM"))
    await desk.asks("STOP_SESSION", body, sender=("XX", "LIE"))

    assert sorted((row.country_code, row.party_id) for row in desk.callbacks) == [("DE", "TNM"), ("NL", "TNM")]


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"owner_id": 2}, "UNKNOWN_SESSION"),
        ({"owner_id": 0}, "UNKNOWN_SESSION"),
        ({"id": "another"}, "UNKNOWN_SESSION"),
        ({"state": "refused", "authorization": "blocked"}, "UNKNOWN_SESSION"),
        ({"state": "ended", "ended_at": NOON}, "REJECTED"),
    ],
)
async def test_a_session_that_cannot_be_stopped(desk, changes, result):  # CM-30, XT-06
    add(desk.database, transaction(**{"id": SESSION} | changes))

    assert await desk.asks("STOP_SESSION", {"response_url": URL, "session_id": SESSION}) == result
    assert await desk.sent() == []


# ---- the others -----------------------------------------------------------------------------------------------------


async def test_a_connector_is_unlocked_by_its_number_in_the_station(desk):  # CM-31
    add(desk.database, connector(2, id=3, connector_id="B", position=2))

    assert await desk.asks("UNLOCK_CONNECTOR", UNLOCK | {"connector_id": "b"}) == "ACCEPTED"

    (command,) = await desk.sent()
    assert isinstance(command, UnlockConnector)
    assert (command.station_id, command.evse, command.connector) == ("CP001", 2, 2)


async def test_a_removed_evse_takes_no_command(desk):  # LO-08
    gone = evse(3, removed=True)
    add(desk.database, gone, connector(3, id=3))

    assert await desk.asks("UNLOCK_CONNECTOR", UNLOCK | {"evse_uid": "CP001-3"}) == "REJECTED"


# ---- reservations ---------------------------------------------------------------------------------------------------

RESERVE = {
    "response_url": URL,
    "token": TOKEN,
    "expiry_date": "2026-03-04T13:00:00+01:00",
    "reservation_id": "Theirs-0123456789-0123456789",
    "location_id": "LOC1",
    "evse_uid": "CP001-2",
    "authorization_reference": "ref-9",
}
CANCEL = {"response_url": URL, "reservation_id": RESERVE["reservation_id"].upper()}
LATER = "2026-03-04T13:30:00Z"


@pytest.fixture
def reservable(desk):
    """Its station says that it can be reserved."""
    add(desk.database, can("Core,Reservation"))
    return desk


def can(features, station_id="CP001"):
    return ActualSetting(
        station_id=station_id, key="SupportedFeatureProfiles", value=features, readonly=True, read_at=NOON
    )


async def test_a_reservation_reaches_the_station_under_our_own_number(reservable):  # CM-40, CM-41, CM-44
    unknown = RESERVE | {"token": TOKEN | {"valid": False}, "expiry_date": LATER}
    assert await reservable.asks("RESERVE_NOW", unknown) == "ACCEPTED"

    (command,) = await reservable.sent()
    (row,) = reservable.reservations
    assert isinstance(command, ReserveEvse)
    assert (command.station_id, command.evse, command.id_token) == ("CP001", 2, TOKEN["uid"])
    assert (command.reservation_id, command.expires_at) == (row.number, NOON + timedelta(minutes=90))
    assert (row.state, row.owner_id, row.reference) == ("active", 1, RESERVE["reservation_id"].casefold())
    assert (row.authorization_reference, reservable.tokens[0].id) == ("ref-9", row.token_id)
    (callback,) = reservable.callbacks
    assert (callback.request_id, callback.command) == (row.remote_request_id, "RESERVE_NOW")


async def test_the_same_reservation_again_extends_it_where_it_is(reservable):  # CM-42
    asked = {**RESERVE, "evse_uid": None, "expiry_date": LATER}
    assert await reservable.asks("RESERVE_NOW", asked) == "ACCEPTED"
    first, *_ = await reservable.sent()
    with reservable.database.write() as connection:
        connection.execute(update(Evse).where(Evse.evse == first.evse).values(status="reserved"))

    asked |= {"reservation_id": RESERVE["reservation_id"].upper(), "expiry_date": "2026-03-04T14:00:00Z"}
    assert await reservable.asks("RESERVE_NOW", asked) == "ACCEPTED"

    _, second = await reservable.sent()
    assert (second.reservation_id, second.evse) == (first.reservation_id, first.evse)
    (row,) = reservable.reservations
    assert row.expires_at == NOON + timedelta(hours=2)
    assert len(reservable.callbacks) == 2


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({"evse_uid": "CP001-9"}, "REJECTED"),
        ({"expiry_date": "2026-03-04T11:59:59Z"}, "REJECTED"),
        ({"expiry_date": "9999-12-31T23:59:59Z"}, "REJECTED"),  # a start there could not be reckoned with
        ({"token": TOKEN | {"party_id": "OTH", "country_code": "FR"}}, "REJECTED"),
    ],
)
async def test_a_reservation_that_cannot_be_is_rejected(reservable, change, result):  # CM-40
    assert await reservable.asks("RESERVE_NOW", {**RESERVE, "expiry_date": LATER} | change) == result
    assert await reservable.sent() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"location_id": "LOC9"}, 2003),
        ({"reservation_id": "x" * 37}, 2001),
        ({"reservation_id": ""}, 2001),
        ({"expiry_date": "soon"}, 2001),
        ({"token": None}, 2001),
        ({"response_url": "http://10.0.0.1/"}, 2001),
    ],
)
async def test_a_reservation_that_cannot_be_meant_is_refused(reservable, change, code):  # CM-09, TR-35
    with pytest.raises(Refusal) as refusal:
        await reservable.asks("RESERVE_NOW", {**RESERVE, "expiry_date": LATER} | change)
    assert refusal.value.status_code == code
    assert await reservable.sent() == []
    assert reservable.tokens == []


async def test_without_an_evse_a_free_one_is_kept(reservable):
    with reservable.database.write() as connection:
        connection.execute(update(Evse).where(Evse.evse == 1).values(status="charging"))
    body = {**RESERVE, "evse_uid": None, "expiry_date": LATER}
    assert await reservable.asks("RESERVE_NOW", body) == "ACCEPTED"
    assert [command.evse for command in await reservable.sent()] == [2]
    with reservable.database.write() as connection:
        connection.execute(update(Evse).values(status="charging"))
    assert await reservable.asks("RESERVE_NOW", body | {"reservation_id": "another"}) == "REJECTED"


@pytest.mark.parametrize("features", [None, "Core", "Core,SmartCharging"])
@pytest.mark.parametrize("evse_uid", ["CP001-2", None])
async def test_what_is_not_advertised_is_not_supported(desk, features, evse_uid):  # CM-10
    if features is not None:
        add(desk.database, can(features))
    assert await desk.asks("RESERVE_NOW", {**RESERVE, "expiry_date": LATER, "evse_uid": evse_uid}) == "NOT_SUPPORTED"
    assert await desk.sent() == []


async def test_a_partner_cancels_its_own_reservation_only(reservable):  # CM-46, XT-06
    await reservable.asks("RESERVE_NOW", {**RESERVE, "expiry_date": LATER})
    await reservable.sent()
    assert await reservable.asks("CANCEL_RESERVATION", CANCEL, caller=OTHER) == "REJECTED"
    assert await reservable.asks("CANCEL_RESERVATION", CANCEL | {"reservation_id": "other"}) == "REJECTED"

    assert await reservable.asks("CANCEL_RESERVATION", CANCEL) == "ACCEPTED"

    _, command = await reservable.sent()
    (row,) = reservable.reservations
    assert isinstance(command, CancelReservation)
    assert (command.reservation_id, row.state) == (row.number, "cancelled")
    assert await reservable.asks("CANCEL_RESERVATION", CANCEL) == "REJECTED"  # it is over


async def test_a_start_names_what_the_evse_is_kept_for(reservable):
    long = RESERVE | {"token": TOKEN | {"uid": "bdf21bce-fc97-11e8-8eb2-f2801f1b9fd1"}, "expiry_date": LATER}
    await reservable.asks("RESERVE_NOW", long)
    (kept,) = await reservable.sent()
    with reservable.database.write() as connection:
        connection.execute(update(Evse).where(Evse.evse == 2).values(status="reserved"))
    start = {**START, "evse_uid": None, "token": long["token"]}

    assert await reservable.asks("START_SESSION", start) == "ACCEPTED"

    _, started = await reservable.sent()
    assert (started.evse, started.id_token) == (
        2,
        kept.id_token,
    )  # not the free one, and not under a tag it does not know


async def test_concurrent_commands_have_receipts_of_their_own(desk):  # CM-12
    add(desk.database, location(id=2, location_id="LOC2", location_key="loc2"), station("CP002"))
    add(desk.database, evse(3, location=2, station_id="CP002", evse=1), connector(3, id=3))
    urls = [f"https://emsp.example/results/{number}" for number in range(6)]

    results = await asyncio.gather(
        *(
            desk.asks("UNLOCK_CONNECTOR", UNLOCK | {"response_url": url, "location_id": "LOC2", "evse_uid": "CP001-3"})
            for url in urls
        )
    )

    assert results == ["ACCEPTED"] * 6
    assert sorted(row.response_url for row in desk.callbacks) == urls
    assert len({row.request_id for row in desk.callbacks}) == 6
