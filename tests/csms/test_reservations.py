"""An EVSE kept for a card: asked, refused, held, replaced, forgotten, used by the right start or by nobody."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from ocpp.routing import on
from ocpp.v16 import call_result

from csms import reservations
from csms.commands import Answer, CancelReservation, Outcome, StartRemotely
from csms.database import Database
from csms.events import ConnectorStatus, TransactionStarted
from csms.journal import Wake
from csms.models import Evse, JournalEntry, RemoteRequest, Reservation
from csms.reservations import NotReservable, ReservationOver, UnknownEvse, UnknownReservation
from csms.stations import UnknownStation
from csms.watch import Watch
from tests.csms.core_story import NOON, Story, told
from tests.csms.gateway_and_core import live
from tests.paths.charger import Charger, charging_point

CARD = "04A1B2C3D4"
LATER = NOON + timedelta(minutes=30)


def reserve(story: Story, **wished: Any) -> int:
    wished = {"station_id": "CP1", "evse": 1, "token_id": 1, "expires_at": LATER, **wished}
    with story.database.write() as connection:
        return reservations.reserve(connection, **wished, requested_by="partner:7", now=story.now)


def cancel(story: Story, number: int) -> None:
    with story.database.write() as connection:
        reservations.cancel(connection, number, requested_by="partner:7", now=story.now)


def reservation(story: Story, number: int = 1) -> Any:
    (row,) = story.rows(Reservation, Reservation.number == number)
    return row


def changes(story: Story) -> list[Any]:
    return [(e.subject, e.data["state"]) for e in story.rows(JournalEntry, JournalEntry.type == "reservation_changed")]


async def carried(story: Story) -> None:
    """All that is queued is sent, and its outcome stored."""
    for request_id, command, timeout_s in story.csms.remote._take_queued():
        await story.csms.remote._carry(request_id, command, timeout_s)


def apply(story: Story, rule: str) -> int:
    return Watch(story.database, wake=Wake(), clock=lambda: story.now).apply(rule)


async def test_a_reservation_is_held_and_used_by_the_start_that_names_it(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card(group_id="FAMILY")
        number = reserve(story, owner_id=7, reference="R-1", authorization_reference="AUTH-1")
        assert reservation(story).state == "requested"
        await carried(story)
        (sent,) = story.sent
        assert (sent.reservation_id, sent.evse, sent.id_token, sent.group_id) == (number, 1, CARD, "FAMILY")
        assert sent.expires_at == LATER
        assert reservation(story).state == "active"
        await story.start(reservation_id=number)
        row, transaction = reservation(story), story.transaction()
        assert (row.state, row.transaction_id, row.finished_at) == ("used", transaction.id, NOON)
        assert transaction.authorization_reference == "AUTH-1"
        assert changes(story) == [("1", "active"), ("1", "used")]
        await story.start(reservation_id=number)  # sent again
        assert changes(story) == [("1", "active"), ("1", "used")]


REFUSALS = {
    Outcome.OCCUPIED: "occupied",
    Outcome.INOPERATIVE: "inoperative",
    Outcome.REJECTED: "rejected",
    Outcome.NOT_SUPPORTED: "not_supported",
    Outcome.OFFLINE: "offline",
    Outcome.TIMEOUT: "timeout",
    Outcome.FAILED: "failed",
}


@pytest.mark.parametrize(("outcome", "word"), REFUSALS.items())
async def test_a_refusal_has_its_word(
    database: Database, outcome: Outcome, word: str
) -> None:  # TC_048_1_CSMS, TC_048_2_CSMS, TC_048_3_CSMS, TC_048_4_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card()
        story.answer = Answer(outcome=outcome)
        reserve(story)
        await carried(story)
        row = reservation(story)
        assert (row.state, row.detail, row.finished_at) == ("refused", word, NOON)
        assert changes(story) == [("1", "refused")]
        queued = [row.kind for row in story.rows(RemoteRequest, RemoteRequest.state == "queued")]
        uncertain = outcome in (Outcome.TIMEOUT, Outcome.FAILED)  # the station may keep it for nobody
        assert queued == (["cancel_reservation"] if uncertain else [])


async def test_one_whose_process_died_before_its_outcome_is_refused_and_forgotten(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        reserve(story, owner_id=7, reference="R-1")
        story.csms.remote._take_queued()  # taken, and never heard of again
        story.pass_time(seconds=41)
        assert apply(story, "lost_requests") == 2
        assert (reservation(story).state, reservation(story).detail) == ("refused", "timeout")
        await carried(story)
        assert story.sent == [
            CancelReservation(station_id="CP1", reservation_id=1, command_id=story.sent[0].command_id)
        ]
        assert reservation(story).state == "refused"
        await story.start(reservation_id=1)  # the station had taken it all the same
        assert reservation(story).state == "used"


async def test_the_same_reference_again_replaces_under_the_same_number(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        first = reserve(story, owner_id=7, reference="R-1")
        await carried(story)
        other = reserve(story, owner_id=8, reference="R-1")
        again = reserve(story, owner_id=7, reference="R-1", evse=2, expires_at=LATER + timedelta(hours=1))
        assert (first, again) == (1, 1)
        assert other != first
        assert reservation(story).evse == 1  # until the station has agreed
        await carried(story)
        row = reservation(story)
        assert (row.state, row.evse, row.expires_at) == ("active", 2, LATER + timedelta(hours=1))
        with database.read() as connection:
            found = reservations.find(connection, owner_id=7, reference="R-1")
            assert found is not None
            assert found.number == 1


async def test_a_replacement_that_is_refused_leaves_what_was(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        reserve(story, owner_id=7, reference="R-1")
        await carried(story)
        story.answer = Answer(outcome=Outcome.OCCUPIED)
        reserve(story, owner_id=7, reference="R-1", evse=2)
        await carried(story)
        row = reservation(story)
        assert (row.state, row.evse, row.detail, row.expires_at) == ("active", 1, "occupied", LATER)


async def test_the_same_reference_elsewhere_frees_the_first_place(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card()
        reserve(story, owner_id=7, reference="R-1")
        await carried(story)
        assert reserve(story, owner_id=7, reference="R-1", station_id="CP2") == 2
        await carried(story)
        assert [(row.station_id, row.state) for row in story.rows(Reservation)] == [
            ("CP1", "cancelled"),
            ("CP2", "active"),
        ]
        assert [type(command) for command in story.sent].count(CancelReservation) == 1
        assert changes(story) == [("1", "active"), ("1", "cancelled"), ("2", "active")]


async def test_a_reference_is_free_again_once_it_is_over(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = reserve(story, owner_id=7, reference="R-1")
        await carried(story)
        cancel(story, number)
        await carried(story)
        assert reserve(story, owner_id=7, reference="R-1") == number + 1


CANCELLATIONS = {
    Outcome.ACCEPTED: ("cancelled", None),
    Outcome.REJECTED: ("cancelled", "rejected"),
    Outcome.NOT_SUPPORTED: ("active", "not_supported"),
    Outcome.OFFLINE: ("active", "offline"),
    Outcome.TIMEOUT: ("active", "timeout"),
}


@pytest.mark.parametrize(("outcome", "becomes"), CANCELLATIONS.items())
async def test_a_cancellation_is_what_the_station_says(
    database: Database, outcome: Outcome, becomes: tuple[str, str | None]
) -> None:  # TC_051_CSMS, TC_052_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = reserve(story)
        await carried(story)
        story.answer = Answer(outcome=outcome)
        cancel(story, number)
        await carried(story)
        assert (reservation(story).state, reservation(story).detail) == becomes


async def test_what_is_over_or_unknown_is_not_cancelled(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        with pytest.raises(UnknownReservation):
            cancel(story, 9)
        number = reserve(story)
        await carried(story)
        await story.start()
        with pytest.raises(ReservationOver, match="used"):
            cancel(story, number)


async def test_what_cannot_be_is_not_asked(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        for wrong, error in (
            ({"station_id": "CP9"}, UnknownStation),
            ({"evse": 3}, UnknownEvse),
            ({"expires_at": NOON}, NotReservable),
            ({"token_id": None}, NotReservable),
            ({"token_id": None, "tag": "a card's number that is too long"}, NotReservable),
        ):
            with pytest.raises(error):
                reserve(story, **wrong)
        assert story.rows(Reservation) == story.rows(RemoteRequest) == []


async def test_nobody_came_and_whoever_comes_late_still_finds_it(database: Database) -> None:  # TC_047_CSMS
    async with told(database) as story:
        story.site("CP1")
        story.card()
        number = reserve(story)
        await carried(story)
        story.now = LATER + timedelta(seconds=60)
        assert apply(story, "reservations") == 0
        story.pass_time(seconds=1)
        assert apply(story, "reservations") == 1
        assert apply(story, "reservations") == 0
        assert reservation(story).state == "expired"
        await story.start(at=LATER - timedelta(minutes=1), reservation_id=number)
        assert reservation(story).state == "used"
        assert changes(story) == [("1", "active"), ("1", "expired"), ("1", "used")]


# ---- whose start it is ----------------------------------------------------------------------------------------------

STARTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # what was reserved, who starts, what becomes of it
    ({}, {"reservation_id": 1}, "used"),
    ({}, {}, "used"),  # the same card, though the charger names nothing
    ({}, {"reservation_id": 0}, "used"),  # some chargers say 0 for none
    ({"evse": None}, {"evse": 2}, "used"),  # TC_049_CSMS
    ({}, {"id_token": "FAMILY-2", "reservation_id": 1}, "used"),  # TC_053_CSMS
    ({}, {"id_token": "FAMILY-2"}, "active"),
    ({}, {"evse": 2}, "active"),
    ({}, {"id_token": "STRANGER", "reservation_id": 1}, "active"),
    ({}, {"id_token": "STRANGER"}, "active"),  # its charger let it: we only record
    ({}, {"station_id": "CP2", "reservation_id": 1}, "active"),
    ({}, {"station_id": "CP2"}, "active"),
    ({}, {"reservation_id": 77}, "active"),
    ({}, {"id_token": "BLOCKED", "reservation_id": 1}, "active"),
]


@pytest.mark.parametrize(("wished", "start", "becomes"), STARTS)
async def test_a_start_uses_what_was_kept_for_it_and_nothing_else(
    database: Database, wished: dict[str, Any], start: dict[str, Any], becomes: str
) -> None:
    async with told(database) as story:
        story.site("CP1", "CP2")
        story.card(group_id="FAMILY")
        story.card("FAMILY-2", group_id="family")
        story.card("STRANGER")
        story.card("BLOCKED", group_id="FAMILY", valid=False)
        reserve(story, **wished)
        await carried(story)
        story.pass_time(minutes=1)
        await story.start(**start)
        row = reservation(story)
        assert row.state == becomes
        assert row.transaction_id == (story.transaction().id if becomes == "used" else None)


@pytest.mark.parametrize(
    ("minutes", "uses"),
    [(-120, False), (-5, True), (0, True), (30, True), (31, True), (32, False)],
)
async def test_a_start_told_late_uses_it_only_if_it_was_in_its_time(
    database: Database, minutes: int, uses: bool
) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        reserve(story)
        start = story._event(TransactionStarted, "CP1", None, evse=1, id_token=CARD, meter_start_mwh=0)
        with database.read() as connection:
            found = reservations.for_starts(connection, [start], story.now)
        assert bool(reservations.used_by(found, start, None, NOON + timedelta(minutes=minutes))) is uses


async def test_one_reservation_is_used_once(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card(exempt=True)
        reserve(story, evse=None)
        await carried(story)
        await story.start(evse=1, reservation_id=1)
        await story.start(evse=2, reservation_id=1)
        first, _ = story.transactions()
        assert reservation(story).transaction_id == first.id
        assert changes(story) == [("1", "active"), ("1", "used")]


async def test_a_remote_start_of_the_same_card_uses_it_too(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card(uid="A number that no wire of 1.6 can carry")
        reserve(story, owner_id=7, reference="R-1")
        await carried(story)
        with database.read() as connection:
            tag = reservations.held_tag(connection, station_id="CP1", token_id=1, evse=1)
        assert tag is not None
        assert tag.startswith("RB")
        assert reservation(story).tag == tag
        command = StartRemotely(station_id="CP1", evse=1, id_token=tag)
        await story.csms.remote.request(command, requested_by="partner:7", token_id=1, authorization_reference="AUTH-2")
        async with asyncio.timeout(30):
            started = (RemoteRequest.state == "accepted", RemoteRequest.kind == "start_remotely")
            while not story.rows(RemoteRequest, *started):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await story.start(tag, reservation_id=1)
        transaction = story.transaction()
        assert (transaction.auth_method, transaction.authorization_reference) == ("COMMAND", "AUTH-2")
        assert reservation(story).transaction_id == transaction.id


async def test_a_start_that_is_faster_than_the_answer_has_used_it(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        reserve(story)
        [(request_id, command, _)] = story.csms.remote._take_queued()
        await story.start(reservation_id=1)
        story.csms.remote._settle(request_id, command, Answer(outcome=Outcome.ACCEPTED))
        assert reservation(story).state == "used"


# ---- on the wire ----------------------------------------------------------------------------------------------------


class Reserving(Charger):
    """Keeps one EVSE, as long as nobody else has it."""

    def __init__(self, station_id: str, socket: Any) -> None:
        super().__init__(station_id, socket)
        self.kept: dict[int, dict[str, Any]] = {}

    @on("ReserveNow")
    async def reserve_now(self, **fields: Any) -> Any:
        taken = any(held["connector_id"] == fields["connector_id"] for held in self.kept.values())
        if taken and fields["reservation_id"] not in self.kept:
            return call_result.ReserveNow(status="Occupied")
        self.kept[fields["reservation_id"]] = fields
        return call_result.ReserveNow(status="Accepted")

    @on("CancelReservation")
    async def cancel_reservation(self, reservation_id: int, **_fields: Any) -> Any:
        known = self.kept.pop(reservation_id, None)
        return call_result.CancelReservation(status="Accepted" if known else "Rejected")


async def test_a_real_charger_keeps_an_evse_and_the_driver_uses_it(
    database: Database,
) -> None:  # TC_046_CSMS, TC_048_2_CSMS, TC_051_CSMS, TC_052_CSMS
    async with live(database) as story:
        story.site("CP1", password="a password of a charger")
        story.card(group_id="FAMILY")
        story.card("04FFEEDDCC")
        async with charging_point(story.url, "CP1", "a password of a charger", kind=Reserving) as charger:
            await charger.boot()
            number = reserve(story, owner_id=7, reference="R-1")
            await settled(story, number, "active")
            kept = charger.kept[number]
            assert (kept["connector_id"], kept["id_tag"], kept["parent_id_tag"]) == (1, CARD, "FAMILY")
            assert datetime.fromisoformat(kept["expiry_date"]) == LATER
            await charger.status("Reserved")
            (evse,) = story.rows(Evse, Evse.station_id == "CP1", Evse.evse == 1)
            assert evse.status == ConnectorStatus.RESERVED.value

            other = reserve(story, token_id=2)
            assert (await settled(story, other, "refused")).detail == "occupied"
            again = reserve(story, owner_id=7, reference="R-1", expires_at=LATER + timedelta(minutes=5))
            assert again == number
            async with asyncio.timeout(30):
                while reservation(story, number).expires_at == LATER:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert list(charger.kept) == [number]

            answer = await charger.begin(CARD, at=NOON, reservation=number)
            assert answer.id_tag_info["status"] == "Accepted"
            assert reservation(story, number).transaction_id == story.transaction().id

            second = reserve(story, token_id=2, evse=2)
            await settled(story, second, "active")
            cancel(story, second)
            await settled(story, second, "cancelled")
            assert second not in charger.kept
            third = reserve(story, token_id=2, evse=2)
            await settled(story, third, "active")
            charger.kept.clear()  # it was switched off and on
            cancel(story, third)
            assert (await settled(story, third, "cancelled")).detail == "rejected"


async def settled(story: Story, number: int, state: str) -> Any:
    async with asyncio.timeout(30):
        while reservation(story, number).state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return reservation(story, number)


# ---- a partner's is a Session ---------------------------------------------------------------------------------------


async def granted(story: Story, **wished: Any) -> Any:
    """One that partner 7 asked for with its card, and that the station took."""
    story.site("CP1", "CP2")
    story.tariff(currency="SEK")
    story.card(owner_id=7, country_code="NL", party_id="EMS", group_id="FAMILY")
    reserve(story, **{"owner_id": 7, "reference": "r-1", "authorization_reference": "AUTH-1", **wished})
    await carried(story)
    return reservation(story)


async def test_what_a_station_granted_a_partner_is_a_session(database: Database) -> None:  # CM-43, SE-14
    async with told(database) as story:
        row = await granted(story)
        assert row.public_id is not None
        assert (row.country_code, row.party_id, row.granted_at, row.last_updated) == ("BE", "BEC", NOON, NOON)
        kept = row.snapshot
        assert (kept["location"]["location_id"], kept["evse"]["uid"], kept["connector"]["connector_id"]) == (
            "LOC-CP1",
            "CP1-1",
            "1",
        )
        assert (kept["token"]["uid"], kept["currency"]) == (CARD, "SEK")

        story.pass_time(minutes=5)
        reserve(story, owner_id=7, reference="r-1", expires_at=LATER + timedelta(hours=1), evse=2)
        await carried(story)
        longer = reservation(story)
        assert (longer.public_id, longer.granted_at) == (row.public_id, NOON)  # it is the same one
        assert (longer.snapshot["evse"]["uid"], longer.last_updated) == ("CP1-2", story.now)


@pytest.mark.parametrize("outcome", [Outcome.OCCUPIED, Outcome.TIMEOUT])
async def test_what_no_station_granted_is_no_session(database: Database, outcome: Outcome) -> None:  # CM-43
    async with told(database) as story:
        story.answer = Answer(outcome=outcome)
        assert (await granted(story)).public_id is None


async def test_what_the_operator_keeps_for_somebody_is_no_session(database: Database) -> None:  # SE-14
    async with told(database) as story:
        assert (await granted(story, owner_id=None, reference=None)).public_id is None


async def test_any_evse_of_a_station_is_none_yet(database: Database) -> None:  # SE-15
    async with told(database) as story:
        kept = (await granted(story, evse=None)).snapshot
        assert (kept["location"]["location_id"], kept["evse"], kept["connector"]) == ("LOC-CP1", None, None)


async def test_the_charge_is_the_session_that_its_reservation_began(database: Database) -> None:  # SE-14
    async with told(database) as story:
        row = await granted(story)
        story.pass_time(minutes=3)
        first = await story.start(reservation_id=row.number)
        assert await story.start(at=story.now, reservation_id=row.number) == first
        transaction = story.transaction()
        assert (transaction.id, transaction.created_at, transaction.started_at) == (row.public_id, NOON, story.now)
        assert reservation(story).transaction_id == row.public_id


@pytest.mark.parametrize(
    "start",
    [
        {"id_token": "FAMILY-2", "reservation_id": 1},  # of the same group, and another Token
        {"id_token": CARD, "station_id": "CP2"},  # somewhere else
    ],
)
async def test_another_charge_is_a_session_of_its_own(database: Database, start: dict[str, Any]) -> None:  # SE-14
    async with told(database) as story:
        row = await granted(story)
        story.card("FAMILY-2", owner_id=7, country_code="NL", party_id="EMS", group_id="FAMILY")
        await story.start(**start)
        assert story.transaction().id != row.public_id


async def test_a_session_that_is_over_stays_so_when_its_driver_was_only_told_late(database: Database) -> None:  # SE-11
    async with told(database) as story:
        row = await granted(story)
        story.now = LATER + timedelta(seconds=61)
        apply(story, "reservations")
        over = reservation(story)
        assert (over.state, over.last_updated) == ("expired", story.now)
        story.pass_time(minutes=10)
        await story.start(at=LATER - timedelta(minutes=1), reservation_id=row.number)
        assert story.transaction().id != row.public_id
        used = reservation(story)
        assert (used.state, used.finished_at, used.last_updated) == ("used", over.finished_at, over.last_updated)
