"""What partners receive over HTTP: in order, current, as often as it takes, and one never at another's cost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import Response

from crud.models import Delivery
from crud.own_prices import let_price
from csms.database import Database
from csms.events import ConnectorStatus
from csms.journal import FactType
from csms.models import Connector, Location, Tariff
from ocpi_bridge.delivery import AT_ONCE
from ocpi_bridge.emsp_client import Peer, Reply
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from ocpi_bridge.push import resync
from ocpi_bridge.telling import Message, Verb
from tests.adapters import rows
from tests.ocpi_bridge.roaming_world import PARTY, RECORD, SESSION, SHORT_S, World, until, world_of


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site(evses=2)
        yield world


@pytest.fixture
async def hasty(database: Database) -> AsyncIterator[World]:
    """Gives up a call soon; what it gives up too soon is repeated as its time passes."""
    async with world_of(database, call_limit_s=SHORT_S) as world:
        world.site(evses=2)
        yield world


@pytest.fixture
async def emsp() -> AsyncIterator[EmspSimulator]:
    async with EmspSimulator(party=PARTY, strict=True) as emsp:
        yield emsp


OTHER_SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a11"
only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def calls(emsp: EmspSimulator, module: str = "") -> list[tuple[str, str]]:
    """Method and what follows the module in the path, in order."""
    found = []
    for request in emsp.requests:
        _, _, place = request.path.partition("/2.2.1/")
        if place.startswith(module):
            found.append((request.method, place))
    return found


def greet(world: World, partner_id: int) -> None:
    with world.database.write() as connection:
        resync(connection, partner_id, world.clock())


# ---- the story ------------------------------------------------------------------------------------------------------


async def test_a_partner_hears_a_whole_charge_in_order(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.status(ConnectorStatus.CHARGING)
        await world.all_told()
        world.session(partner, energy_mwh=0)
        await world.all_told()
        world.clock.advance(minutes=15)
        world.progress(energy_mwh=2_500_000)
        await world.all_told()
        world.clock.advance(minutes=15)
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told()
    here = "BE/BEC"
    assert calls(emsp) == [
        ("PUT", f"tariffs/{here}/standard-ac"),  # TA-05
        ("PUT", f"locations/{here}/LOC1"),
        ("PATCH", f"locations/{here}/LOC1/CP001-1"),  # LO-07
        ("PUT", f"sessions/{here}/{SESSION}"),  # SE-25
        ("PATCH", f"sessions/{here}/{SESSION}"),
        ("PATCH", f"sessions/{here}/{SESSION}"),
        ("POST", "cdrs"),  # CD-02
    ]
    assert emsp.complaints == []
    assert emsp.locations["LOC1"]["evses"][0]["status"] == "CHARGING"
    session = emsp.sessions[SESSION]
    assert (session["status"], len(session["charging_periods"])) == ("COMPLETED", 4)
    assert [cdr["id"] for cdr in emsp.cdrs] == [RECORD]
    assert world.delivery("cdrs", RECORD).remote_url == f"{emsp.base_url}/2.2.1/cdrs/{RECORD}"  # CD-03


@only_sqlite
async def test_routing_headers_name_the_parties_of_the_object_and_the_card(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)  # RT-04
    world.session(partner)
    async with world.delivering():
        await world.all_told()
    headers = emsp.requests[0].headers
    named = [headers[f"ocpi-{way}"] for way in ("from-country-code", "from-party-id", "to-country-code", "to-party-id")]
    assert named == ["BE", "BEC", "DE", "TNM"]


@only_sqlite
async def test_many_changes_while_a_call_is_out_are_one_more_call(world: World, emsp: EmspSimulator) -> None:  # PU-09
    partner = world.trust(emsp)
    world.session(partner, energy_mwh=0)
    for minute in range(1, 6):
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=minute * 100_000)
    async with world.delivering():
        await world.all_told()
    assert calls(emsp) == [("PUT", f"sessions/BE/BEC/{SESSION}")]
    assert float(emsp.sessions[SESSION]["kwh"]) == 0.5


@only_sqlite
async def test_what_a_partner_knows_is_not_sent_again(world: World, emsp: EmspSimulator) -> None:  # PU-15
    world.trust(emsp)
    world.happened(FactType.LOCATION_CHANGED, "1")
    async with world.delivering():
        await world.all_told()
        world.happened(FactType.LOCATION_CHANGED, "1")
        world.happened(FactType.EVSE_STATUS, "1", "2")
        await world.all_told()
    assert calls(emsp) == [("PUT", "locations/BE/BEC/LOC1")]


@only_sqlite
async def test_a_status_before_the_partner_knows_the_location_is_the_whole_location(
    world: World, emsp: EmspSimulator
) -> None:
    world.trust(emsp)
    world.status(ConnectorStatus.CHARGING)
    async with world.delivering():
        await world.all_told()
    assert calls(emsp) == [("PUT", "locations/BE/BEC/LOC1")]
    assert emsp.locations["LOC1"]["evses"][0]["status"] == "CHARGING"


@only_sqlite
async def test_connectors_of_one_evse_are_what_their_charge_point_says(world: World, emsp: EmspSimulator) -> None:
    """LO-42: one EVSE each; while one charges, the Charge Point says of its siblings that they are unavailable."""
    world.trust(emsp)
    world.happened(FactType.LOCATION_CHANGED, "1")
    async with world.delivering():
        await world.all_told()
        world.status(ConnectorStatus.CHARGING, 1)
        world.status(ConnectorStatus.UNAVAILABLE, 2)
        await world.all_told()
    shown = {evse["uid"]: evse["status"] for evse in emsp.locations["LOC1"]["evses"]}
    assert shown == {"CP001-1": "CHARGING", "CP001-2": "INOPERATIVE"}


@only_sqlite
async def test_a_change_of_more_than_the_status_is_a_put(world: World, emsp: EmspSimulator) -> None:  # PU-04
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.change(Connector, Connector.evse == 1, max_amperage=16)
        world.status(ConnectorStatus.CHARGING)
        await world.all_told()
    assert calls(emsp, "locations") == [("PUT", "locations/BE/BEC/LOC1")] * 2
    assert emsp.locations["LOC1"]["evses"][0]["connectors"][0]["max_amperage"] == 16


@only_sqlite
async def test_a_removed_tariff_is_deleted_after_the_locations_that_named_it(
    world: World, emsp: EmspSimulator
) -> None:  # TA-03, TA-04
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.change(Connector, Connector.evse > 0, tariff_ids=[])
        world.change(Tariff, Tariff.id == 1, removed=True)
        world.happened(FactType.TARIFF_CHANGED, "1")
        world.change(Location, Location.id == 1, last_updated=world.clock())
        world.happened(FactType.LOCATION_CHANGED, "1")
        await world.all_told(pass_time=True)
    assert calls(emsp)[-1] == ("DELETE", "tariffs/BE/BEC/standard-ac")
    assert emsp.tariffs.get("standard-ac") is None


@only_sqlite
async def test_a_new_version_of_a_tariff_is_put_under_the_same_id(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.new_tariff_version(currency="CHF")
        await world.all_told()
    assert emsp.tariffs["standard-ac"]["currency"] == "CHF"


# ---- order ----------------------------------------------------------------------------------------------------------


@only_sqlite
async def test_a_cdr_waits_for_its_sessions_final_state(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    emsp.fault("sessions", Fault.ERROR_500, times=2)
    world.session(partner)
    world.end()
    world.bill(partner)
    async with world.delivering():
        await world.all_told(pass_time=True)
    assert [method for method, _ in calls(emsp)] == ["PUT", "PUT", "PUT", "POST"]


@only_sqlite
async def test_a_cdr_does_not_wait_for_a_session_forever(world: World, emsp: EmspSimulator) -> None:  # money
    partner = world.trust(emsp)
    emsp.fault("sessions", Fault.ERROR_500, times=None)
    world.session(partner)
    world.end()
    world.bill(partner)
    async with world.delivering():
        await until(lambda: (world.clock.advance(seconds=10), emsp.cdrs)[1])
    assert len(calls(emsp, "sessions")) >= 5


@only_sqlite
async def test_locations_that_hang_hold_up_a_session_for_a_minute_at_most(
    hasty: World, emsp: EmspSimulator
) -> None:  # money
    partner = hasty.trust(emsp)
    emsp.fault("locations", Fault.HANG, times=None)
    for number in range(2, 70):
        hasty.keep(rows.location(id=number, location_id=f"L{number}", location_key=f"l{number}"))
    greet(hasty, partner)
    hasty.session(partner)
    async with hasty.delivering():
        await until(lambda: calls(emsp, "locations"))
        assert calls(emsp, "sessions") == []
        hasty.clock.advance(seconds=61)
        await emsp.wait_for(lambda: calls(emsp, "sessions"))


# ---- bad partners ---------------------------------------------------------------------------------------------------

BAD = [
    Fault.HANG,
    Fault.DRIP,
    Fault.ERROR_500,
    Fault.ERROR_401,
    Fault.ERROR_429,
    Fault.ERROR_3000,
    Fault.REDIRECT,
    Fault.GARBAGE,
    Fault.DISCONNECT,
    Fault.LOST_ANSWER,
    Fault.HUGE,
]


@only_sqlite
@pytest.mark.parametrize("fault", BAD)
async def test_a_partner_that_fails_for_a_while_has_the_newest_state_in_the_end(
    hasty: World, emsp: EmspSimulator, fault: Fault
) -> None:  # PU-09, PU-17
    partner = hasty.trust(emsp)
    emsp.fault("sessions", fault, times=1)
    hasty.session(partner, energy_mwh=0)
    async with hasty.delivering():
        row = await until(lambda: hasty.failed("sessions", SESSION))
        assert (row.told, row.confirmed) == (0, None)
        hasty.clock.advance(minutes=1)
        hasty.progress(energy_mwh=700_000)
        await hasty.all_told(pass_time=True)
    assert float(emsp.sessions[SESSION]["kwh"]) == 0.7
    assert emsp.complaints == []


@pytest.mark.parametrize("attempts", [0, 3])
async def test_what_a_clock_that_ran_ahead_put_off_is_told_now(
    world: World, emsp: EmspSimulator, attempts: int
) -> None:
    """A process set two hours ahead wrote when it is due; then its clock was set right, or another process leads."""
    partner = world.trust(emsp)
    world.clock.advance(hours=2)
    greet(world, partner)
    world.change(Delivery, Delivery.partner_id == partner, attempts=attempts)
    world.clock.advance(hours=-2)
    async with world.delivering():
        await world.all_told()
    assert {module for _, module, _ in world.deliveries()} == {"tariffs", "locations"}


@only_sqlite
async def test_after_a_doubtful_patch_the_whole_session_is_put(world: World, emsp: EmspSimulator) -> None:  # SE-07
    partner = world.trust(emsp)
    world.session(partner, energy_mwh=1_100_000)
    async with world.delivering():
        await world.all_told()
        emsp.fault("sessions", Fault.LOST_ANSWER, times=1)
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=2_500_000)
        await until(lambda: world.failed("sessions", SESSION))
        world.clock.advance(minutes=1)
        world.wake()
        await world.all_told()
    assert [method for method, _ in calls(emsp)] == ["PUT", "PATCH", "PUT"]
    assert len(emsp.sessions[SESSION]["charging_periods"]) == 2
    assert emsp.complaints == []


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.ERROR_404, Fault.ERROR_2001])
async def test_a_patch_that_is_not_taken_is_followed_by_a_put_at_once(
    world: World, emsp: EmspSimulator, fault: Fault
) -> None:  # PU-07
    partner = world.trust(emsp)
    world.session(partner, energy_mwh=1_100_000)
    async with world.delivering():
        await world.all_told()
        emsp.fault("sessions", fault, times=1)
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=2_500_000)
        await world.all_told()
    assert [method for method, _ in calls(emsp)] == ["PUT", "PATCH", "PUT"]


@only_sqlite
@pytest.mark.parametrize("fault", [Fault.ERROR_404, Fault.ERROR_2001, Fault.GARBAGE, Fault.LOST_ANSWER])
async def test_a_status_patch_that_is_not_taken_becomes_the_whole_location(
    world: World, emsp: EmspSimulator, fault: Fault
) -> None:  # PU-07
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        emsp.fault("locations", fault, times=1)
        world.clock.advance(minutes=1)
        world.status(ConnectorStatus.CHARGING)
        await until(lambda: len(calls(emsp, "locations")) >= 2)
        await world.all_told(pass_time=True)
    assert [method for method, _ in calls(emsp, "locations")] == ["PUT", "PATCH", "PUT"]
    assert emsp.locations["LOC1"]["evses"][0]["status"] == "CHARGING"


@only_sqlite
async def test_a_refused_object_is_left_alone_until_it_changes(world: World, emsp: EmspSimulator) -> None:  # PU-17
    partner = world.trust(emsp)
    emsp.fault("sessions", Fault.ERROR_2001, times=1)
    world.session(partner)
    async with world.delivering():
        row = await until(lambda: world.delivery("sessions", SESSION).stopped and world.delivery("sessions", SESSION))
        assert "2001" in row.stopped
        world.clock.advance(hours=2)
        world.progress(energy_mwh=12_500_000)
        await world.all_told()
    assert [method for method, _ in calls(emsp)] == ["PUT", "PUT"]
    assert SESSION in [entry["id"] for entry in emsp.sessions.values()]


@only_sqlite
async def test_a_cdr_whose_answer_was_lost_is_posted_again_with_the_same_id(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)  # PU-11, CD-32
    emsp.fault("cdrs", Fault.LOST_ANSWER, times=1)
    world.session(partner)
    world.end()
    world.bill(partner)
    async with world.delivering():
        await world.all_told(pass_time=True)
    assert [cdr["id"] for cdr in emsp.cdrs] == [RECORD]
    assert calls(emsp, "cdrs") == [("POST", "cdrs")] * 2
    assert emsp.complaints == []


@only_sqlite
async def test_a_cdr_without_a_location_header_has_arrived(world: World, emsp: EmspSimulator) -> None:  # CD-04
    partner = world.trust(emsp)
    emsp.fault("cdrs", Fault.MISSING_LOCATION_HEADER)
    world.session(partner)
    world.end()
    world.bill(partner)
    async with world.delivering():
        row = await world.told("cdrs", RECORD)
    assert (row.told, row.remote_url) == (1, None)
    assert len(emsp.cdrs) == 1


@only_sqlite
async def test_a_hanging_partner_delays_nobody_else(world: World, emsp: EmspSimulator) -> None:
    async with EmspSimulator(party=("FR", "BAD")) as bad:
        hanging = world.trust(bad, "a hanging one")
        partner = world.trust(emsp)
        bad.fault("", Fault.HANG, times=None)
        for number in range(20):
            world.session(hanging, f"hangs-{number}")
        world.session(partner)
        async with world.delivering():
            await emsp.wait_for(lambda: SESSION in [entry["id"] for entry in emsp.sessions.values()], timeout_s=3)
            assert len(bad.requests) <= AT_ONCE


async def test_one_call_at_a_time_for_one_object(world: World) -> None:  # PU-10
    out: list[str] = []
    worst = 0

    async with EmspSimulator(party=PARTY) as emsp:
        partner = world.trust(emsp)
        greet(world, partner)
        async with world.delivering() as deliveries:
            await world.all_told()
            for key, call in list(deliveries._calls.items()):

                async def counted(peer: Any, message: Any, call: Any = call) -> Any:
                    nonlocal worst
                    out.append("call")
                    worst = max(worst, len(out))
                    try:
                        return await call(peer, message)
                    finally:
                        out.pop()

                deliveries._calls[key] = counted
            for minute in range(8):
                world.clock.advance(minutes=1)
                status = ConnectorStatus.CHARGING if minute % 2 else ConnectorStatus.AVAILABLE
                world.status(status, evse=1)
                world.status(status, evse=2)
                world.wake()
            await world.all_told()
        assert worst == 1  # both EVSEs are parts of one Location
        assert emsp.complaints == []
        assert {evse["status"] for evse in emsp.locations["LOC1"]["evses"]} == {"CHARGING"}


# ---- restarts and registrations -------------------------------------------------------------------------------------


async def test_what_was_in_flight_at_a_crash_is_sent_again(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    world.session(partner)
    emsp.fault("sessions", Fault.HANG, times=1)
    async with world.delivering():
        await until(lambda: emsp.requests)  # and it dies there, with nothing recorded
    row = world.delivery("sessions", SESSION)
    assert (row.told, row.attempts) == (0, 0)
    async with world.delivering():
        world.clock.advance(seconds=16)
        world.wake()
        await world.all_told()
    assert [method for method, _ in calls(emsp)] == ["PUT", "PUT"]
    assert emsp.complaints == []


@only_sqlite
async def test_two_processes_at_once_send_each_object_once(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    for number in range(10):
        world.session(partner, f"session-{number}")
    async with world.delivering(), world.delivering():
        await world.all_told()
    assert len(calls(emsp)) == 10


@only_sqlite
async def test_a_resync_tells_everything_again(world: World, emsp: EmspSimulator) -> None:  # PU-18
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        greet(world, partner)
        await world.all_told()
    assert sorted(calls(emsp)) == [("PUT", "locations/BE/BEC/LOC1")] * 2 + [("PUT", "tariffs/BE/BEC/standard-ac")] * 2


@only_sqlite
async def test_a_partner_that_left_is_not_called(world: World, emsp: EmspSimulator) -> None:  # CR-10
    partner = world.trust(emsp)
    world.session(partner)
    with world.database.write() as connection:
        world.partners.leave(connection, partner)
    async with EmspSimulator(party=PARTY) as other:
        greet(world, world.trust(other, "other"))
        async with world.delivering():
            await until(lambda: other.tariffs.get("standard-ac") and other.locations.get("LOC1"))
    assert emsp.requests == []
    assert world.delivery("sessions", SESSION).told == 0


@only_sqlite
async def test_what_an_older_registration_confirmed_counts_no_more(world: World, emsp: EmspSimulator) -> None:
    partner = world.trust(emsp)
    world.session(partner)
    calling = asyncio.Event()
    async with world.delivering() as deliveries:
        put = deliveries._calls["sessions", Verb.PUT]

        async def put_during_a_new_registration(peer: Peer, message: Message) -> Reply:
            reply = await put(peer, message)
            if not calling.is_set():
                calling.set()
                with world.database.write() as connection:
                    world.partners.leave(connection, partner)
                world.trust(emsp)
            return reply

        deliveries._calls["sessions", Verb.PUT] = put_during_a_new_registration
        row = await world.told("sessions", SESSION)
    assert calling.is_set()
    assert row.confirmed is None


# ---- money in doubt -------------------------------------------------------------------------------------------------


class Mumbling(EmspSimulator):
    """Takes a CDR, says where it is, and says nothing that can be read; `forgets` what it took."""

    forgets = False

    async def _reply(self, received: Any, fault: Any, scope: Any, receive: Any, send: Any) -> None:
        if received.method != "POST" or not received.path.endswith("/cdrs") or len(self.posts()) > 1:
            await super()._reply(received, fault, scope, receive, send)
            return
        if not self.forgets:
            await self._receivers.answer(received)
        where = f"{self.base_url}/2.2.1/cdrs/{received.body['id']}"
        await Response("thanks", 201, {"Location": where})(scope, receive, send)

    def posts(self) -> list[Any]:
        return [request for request in self.requests if request.method == "POST"]


@only_sqlite
@pytest.mark.parametrize("forgets", [False, True])
async def test_a_cdr_in_doubt_is_looked_for_where_it_should_be_before_it_is_sent_again(
    world: World, forgets: bool
) -> None:  # PU-11, CD-03
    async with Mumbling(party=PARTY, strict=True) as emsp:
        emsp.forgets = forgets
        partner = world.trust(emsp, without=("sessions",))
        world.session(partner)
        world.bill(partner)
        async with world.delivering():
            await world.all_told(pass_time=True)
        assert [method for method, _ in calls(emsp)] == (["POST", "GET", "POST"] if forgets else ["POST", "GET"])
        assert [cdr["id"] for cdr in emsp.cdrs] == [RECORD]
        row = world.delivery("cdrs", RECORD)
        assert row.remote_url == f"{emsp.base_url}/2.2.1/cdrs/{RECORD}"
        assert row.confirmed is not None
        assert [str(complaint) for complaint in emsp.complaints if "Unknown object" not in str(complaint)] == []


@only_sqlite
async def test_a_cdr_refused_after_a_lost_answer_is_not_called_surely_unknown(
    world: World, emsp: EmspSimulator
) -> None:
    """PU-11, PU-17: it stays to be seen, once."""
    partner = world.trust(emsp, without=("sessions",))
    emsp.fault("cdrs", Fault.LOST_ANSWER)
    emsp.fault("cdrs", Fault.ERROR_2001)
    world.session(partner)
    world.bill(partner)
    async with world.delivering():
        await until(lambda: (world.clock.advance(seconds=2), world.delivery("cdrs", RECORD).stopped)[1])
    assert world.delivery("cdrs", RECORD).stopped.startswith("unsure: an earlier attempt may have arrived")
    assert len(emsp.cdrs) == 1


@only_sqlite
async def test_a_put_after_doubt_holds_all_periods_and_replaces_them(world: World, emsp: EmspSimulator) -> None:
    """SE-06, PU-07"""
    partner = world.trust(emsp)
    world.session(partner, energy_mwh=1_500_000)
    async with world.delivering():
        await world.all_told()
        for kwh in (2, 3):
            world.clock.advance(minutes=15)
            world.progress(energy_mwh=kwh * 1_000_000 + 500_000)
            if kwh == 3:
                emsp.fault("sessions", Fault.LOST_ANSWER)  # it appended, and we do not know
            await world.all_told(pass_time=True)
    assert [method for method, _ in calls(emsp)] == ["PUT", "PATCH", "PATCH", "PUT"]
    sent = emsp.requests[-1].body["charging_periods"]
    assert emsp.sessions[SESSION]["charging_periods"] == sent
    assert len(sent) == 3  # the one that still grows comes when it has ended
    assert emsp.complaints == []


@only_sqlite
async def test_an_evse_that_flaps_is_told_at_once_and_then_as_it_is_in_the_end(
    world: World, emsp: EmspSimulator
) -> None:
    """LO-65: the first change goes at once; what follows within two seconds is one PATCH with the newest."""
    partner = world.trust(emsp)
    greet(world, partner)
    async with world.delivering():
        await world.all_told()
        emsp.requests.clear()
        world.clock.advance(minutes=1)
        for tenth in range(18):
            world.clock.advance(milliseconds=100)
            world.status(ConnectorStatus.FAULTED if tenth % 2 == 0 else ConnectorStatus.CHARGING)
            if tenth == 0:
                await world.all_told()
        await until(lambda: world.delivery("evses", "1").next_attempt_at > world.clock())
        assert len(emsp.requests) == 1
        await world.all_told(pass_time=True)
    assert [request.body["status"] for request in emsp.requests] == ["OUTOFORDER", "CHARGING"]
    assert emsp.complaints == []


async def test_a_partner_that_prices_itself_is_told_no_price(world: World, emsp: EmspSimulator) -> None:
    """CD-34: of what begins from then on; what began before keeps its prices, whatever is set later."""
    partner = world.trust(emsp)
    greet(world, partner)

    def prices(itself: bool) -> None:
        with world.database.write() as connection:
            let_price(connection, partner, itself, world.clock())

    prices(True)
    prices(True)
    async with world.delivering():
        world.session(partner, energy_mwh=0, created_at=world.clock())
        world.clock.advance(minutes=15)
        world.progress(energy_mwh=2_500_000)
        await world.all_told()
        prices(False)
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told()
        (cdr,) = emsp.cdrs
        assert cdr["total_cost"] == {"excl_vat": 0, "incl_vat": 0}
        assert not cdr.keys() & {"tariffs", "total_energy_cost", "total_fixed_cost"}
        assert [period for period in cdr["charging_periods"] if "tariff_id" in period] == []
        assert cdr["total_energy"] > 3
        assert "total_cost" not in emsp.sessions[SESSION]
        world.session(partner, id=OTHER_SESSION, energy_mwh=0, created_at=world.clock(), token_id=None)
        world.end(OTHER_SESSION, energy_mwh=1_000_000)
        await world.all_told()
        assert emsp.sessions[OTHER_SESSION]["total_cost"]["excl_vat"] > 0
    assert emsp.complaints == []
