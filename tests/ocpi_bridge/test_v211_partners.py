"""Partners of OCPI 2.1.1 over real HTTP: they register in it, hear of everything in its words, and may change versions."""

import base64
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest
from sqlalchemy import select

from crud.models import CommandCallback
from crud.partners import PartnerState
from csms.authorization import Question
from csms.commands import Outcome
from csms.database import Database
from csms.events import AuthorizationStatus, ConnectorStatus
from csms.journal import FactType
from csms.models import Location, RemoteRequest, Reservation, Token
from ocpi_bridge.callbacks import Callbacks
from ocpi_bridge.registration import Registration, RegistrationFailed
from ocpi_bridge.token_owner import TokenOwnerAtPartner
from ocpi_bridge.token_sync import TokenSync
from tests.adapters import field_tables, rows
from tests.ocpi_bridge.our_door import open_door
from tests.ocpi_bridge.partner_211 import Partner211
from tests.ocpi_bridge.roaming_world import NOON, RECORD, SESSION, World, running, until, world_of

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
pytestmark = only_sqlite

US = ("BE", "BEC")
HERE = "BE/BEC"
CREDIT, CORRECTED = "0b9c7d3e-2222-4222-8333-444455556666", "0b9c7d3e-3333-4222-8333-444455556666"

Door = tuple[Registration, str]


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        world.site()
        yield world


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    async with open_door(world) as door:
        yield door


@pytest.fixture
async def emsp() -> AsyncIterator[Partner211]:
    async with Partner211() as emsp:
        yield emsp


@pytest.fixture
async def both() -> AsyncIterator[Partner211]:
    """A platform that speaks either version."""
    async with Partner211(versions=("2.1.1", "2.2.1")) as emsp:
        yield emsp


def invite(world: World) -> str:
    with world.database.write() as connection:
        return world.partners.invite(connection, "emsp", US, world.clock())


async def registered(world: World, door: Door, emsp: Partner211) -> int:
    await emsp.register(door[1], invite(world))
    return world.partner().id


# ---- registration ---------------------------------------------------------------------------------------------------


async def test_a_partner_registers_in_211(
    world: World, door: Door, emsp: Partner211
) -> None:  # CR-32, TR-04, V1-01, V1-02, VE-02
    credentials = await emsp.register(door[1], invite(world))

    partner = world.partner()
    assert (partner.state, partner.version) == (PartnerState.REGISTERED, "2.1.1")
    assert credentials == {
        "token": partner.token_in,
        "url": door[1],
        "business_details": {"name": "Operator"},
        "country_code": "BE",
        "party_id": "BEC",
    }
    assert {partner.token_out} == emsp.inbound
    assert [(role["role"], role["country_code"], role["party_id"]) for role in partner.roles] == [("EMSP", "DE", "TNM")]
    assert partner.endpoint("tokens", "SENDER") == f"{emsp.base_url}/2.1.1/tokens"
    assert partner.endpoint("sessions", "RECEIVER") == f"{emsp.base_url}/2.1.1/sessions"
    assert await emsp.call("GET", emsp.endpoints["credentials"]) == credentials
    assert emsp.complaints == []


async def test_its_token_is_not_encoded_and_may_be(world: World, door: Door, emsp: Partner211) -> None:  # TR-04, TR-05
    await emsp.register(door[1], invite(world))

    assert await emsp.call("GET", emsp.endpoints["credentials"], raw=True) is not None
    assert await emsp.call("GET", emsp.endpoints["credentials"], raw=False) is not None
    assert emsp.complaints == []


async def test_it_leaves_and_its_tokens_are_void(world: World, door: Door, emsp: Partner211) -> None:  # CR-10, V1-02
    await emsp.register(door[1], invite(world))

    await emsp.call("DELETE", emsp.endpoints["credentials"])

    assert world.partner().state is PartnerState.LEFT
    assert emsp.complaints == []


async def test_we_register_in_211_at_a_partner_that_speaks_nothing_newer(
    world: World, door: Door, emsp: Partner211
) -> None:  # CR-32, TR-04, V1-01
    emsp.inbound = {"token-A"}

    partner = await door[0].register_at("emsp", emsp.versions_url, "token-A")

    assert (partner.version, partner.token_in) == ("2.1.1", emsp.outbound)
    assert partner.roles[0]["role"] == "EMSP"
    assert partner.endpoint("tokens", "SENDER") == f"{emsp.base_url}/2.1.1/tokens"
    assert emsp.complaints == []


@pytest.mark.parametrize(("asked", "version"), [(None, "2.2.1"), ("2.2.1", "2.2.1"), ("2.1.1", "2.1.1")])
async def test_the_newest_version_of_both_is_chosen_or_the_one_that_is_asked_for(
    world: World, door: Door, both: Partner211, asked: str | None, version: str
) -> None:  # CR-28
    both.inbound = {"token-A"}

    partner = await door[0].register_at("emsp", both.versions_url, "token-A", version=asked)

    assert partner.version == version
    assert both.complaints == []


async def test_a_token_that_is_known_in_neither_writing_is_refused(
    world: World, door: Door, emsp: Partner211
) -> None:  # TR-05, CR-26
    with pytest.raises(RegistrationFailed, match="401"):
        await door[0].register_at("emsp", emsp.versions_url, "unknown")


async def test_a_list_of_versions_may_want_base64_of_who_speaks_211(
    world: World, door: Door, emsp: Partner211
) -> None:  # TR-04, TR-05
    emsp.fails_over_raw = True
    emsp.inbound = {"token-A"}

    partner = await door[0].register_at("emsp", emsp.versions_url, "token-A", version="2.1.1")
    again = await door[0].rotate("emsp")

    assert (partner.version, again.version) == ("2.1.1", "2.1.1")
    assert emsp.complaints == []


async def test_a_version_that_is_not_offered_is_not_spoken(world: World, door: Door) -> None:  # CR-28, TR-05
    async with Partner211(versions=("2.2.1",)) as newer:
        newer.inbound = {"token-A"}
        with pytest.raises(RegistrationFailed, match="401"):
            await door[0].register_at("emsp", newer.versions_url, "token-A", version="2.1.1")
        assert newer.outbound == ""


# ---- what it hears --------------------------------------------------------------------------------------------------


async def test_it_hears_a_whole_charge_in_its_own_words(
    world: World, door: Door, emsp: Partner211
) -> None:  # V1-03, V1-04, V1-09, V1-10
    partner = await registered(world, door, emsp)
    async with world.delivering():
        await world.all_told()
        world.clock.advance(minutes=1)
        world.status(ConnectorStatus.CHARGING)
        await world.all_told()
        world.session(partner, energy_mwh=0, auth_method="COMMAND")
        await world.all_told()
        world.clock.advance(minutes=1)
        world.progress(energy_mwh=500_000)
        await world.all_told()
        world.clock.advance(minutes=15)
        world.progress(energy_mwh=2_500_000)
        await world.all_told()
        world.clock.advance(minutes=15)
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told()

    assert [(method, path) for method, path, _ in emsp.told] == [
        ("PUT", f"tariffs/{HERE}/standard-ac"),
        ("PUT", f"locations/{HERE}/LOC1"),
        ("PATCH", f"locations/{HERE}/LOC1/CP001-1"),
        ("PUT", f"sessions/{HERE}/{SESSION}"),
        ("PATCH", f"sessions/{HERE}/{SESSION}"),
        ("PUT", f"sessions/{HERE}/{SESSION}"),  # it has new periods
        ("PUT", f"sessions/{HERE}/{SESSION}"),
        ("POST", "cdrs"),
    ]
    assert emsp.told[2][2] == {"status": "CHARGING", "last_updated": "2026-03-04T12:01:00Z"}
    assert emsp.told[4][2] == {"kwh": Decimal("0.5"), "last_updated": "2026-03-04T12:02:00Z"}
    session, cdr = emsp.told[6][2], emsp.told[7][2]
    assert (session["status"], session["kwh"], session["auth_method"]) == ("COMPLETED", Decimal("3.2"), "AUTH_REQUEST")
    assert cdr["id"] == RECORD
    assert emsp.complaints == []
    assert world.delivery("cdrs", RECORD).remote_url == f"{emsp.base_url}/2.1.1/cdrs/1"


async def test_a_tariff_that_it_cannot_be_told_is_not_told(world: World, door: Door, emsp: Partner211) -> None:  # V1-11
    await registered(world, door, emsp)
    async with world.delivering():
        await world.all_told()
        world.new_tariff_version(type="AD_HOC_PAYMENT")
        world.happened(FactType.LOCATION_CHANGED, "1")
        await world.all_told(pass_time=True)

    assert [(method, path) for method, path, _ in emsp.told][2:] == [
        ("PUT", f"locations/{HERE}/LOC1"),
        ("DELETE", f"tariffs/{HERE}/standard-ac"),
    ]
    assert "tariff_id" not in emsp.told[2][2]["evses"][0]["connectors"][0]
    assert emsp.complaints == []


async def test_what_is_not_published_is_not_told(world: World, door: Door, emsp: Partner211) -> None:  # V1-06
    world.keep(rows.location(id=2, location_id="PRIVATE", location_key="private", publish=False))
    await registered(world, door, emsp)
    async with world.delivering():
        await world.all_told()

    assert [path for _, path, _ in emsp.told if path.startswith("locations")] == [f"locations/{HERE}/LOC1"]


async def test_what_is_published_no_longer_is_taken_back(
    world: World, door: Door, emsp: Partner211
) -> None:  # V1-06, LO-08
    await registered(world, door, emsp)
    async with world.delivering():
        await world.all_told()
        world.change(Location, Location.id == 1, publish=False)
        for _ in range(2):
            world.happened(FactType.LOCATION_CHANGED, "1")
            await world.all_told()
        world.change(Location, Location.id == 1, publish=True)
        world.happened(FactType.LOCATION_CHANGED, "1")
        await world.all_told()

    told = [[evse["status"] for evse in body["evses"]] for _, path, body in emsp.told if path.startswith("locations")]
    assert told == [["AVAILABLE"], ["REMOVED"], ["AVAILABLE"]]
    assert emsp.complaints == []


async def test_a_credit_is_not_told_and_neither_is_what_stands_instead(
    world: World, door: Door, both: Partner211
) -> None:  # CD-09, V1-10, CR-28
    """2.1.1 knows no credit: both bills would be paid."""
    partner = await registered(world, door, both)
    world.session(partner, state="ended", ended_at=NOON + timedelta(minutes=45))
    world.bill(partner)
    async with world.delivering():
        await world.all_told()
        world.bill(partner, CREDIT, credit=True, credit_reference_id=RECORD)
        world.bill(partner, CORRECTED, corrects=RECORD)
        stopped = await until(lambda: (row := world.delivery("cdrs", CORRECTED)) and row.stopped)
        assert CREDIT in stopped
        assert "2.1.1" in world.delivery("cdrs", CREDIT).stopped
        assert [body["id"] for _, path, body in both.told if path == "cdrs"] == [RECORD]

        await both.register(door[1], both.outbound, method="PUT", version="2.2.1")
        await world.all_told(pass_time=True)

    assert [body["id"] for _, path, body in both.told if path == "cdrs"] == [RECORD, CREDIT, CORRECTED]
    assert both.complaints == []


# ---- another version ------------------------------------------------------------------------------------------------


async def test_a_partner_moves_to_221_and_back_by_put(
    world: World, door: Door, both: Partner211
) -> None:  # CR-28, V1-02, VE-07
    """Objects stay the same ones; each is PUT whole once in the new words, and no CDR is sent again. XT-01"""
    partner = await registered(world, door, both)
    async with world.delivering():
        world.session(partner, energy_mwh=500_000)
        await world.all_told()

        async def move(version: str) -> list[tuple[str, str]]:
            before, stale, stale_at = len(both.told), both.outbound, both.endpoints["tokens"]
            await both.register(door[1], both.outbound, method="PUT", version=version)
            assert await probed(f"{stale_at}/DE/TNM/X", stale) == 401  # XT-01: the old token, at the version it was of
            assert await probed(f"{stale_at}/DE/TNM/X", both.outbound) == 401  # and the new one there
            assert (world.partner().version, world.partner().id) == (version, partner)
            await world.all_told()
            world.clock.advance(minutes=1)
            world.progress(energy_mwh=500_000)
            await world.all_told()
            return [(method, path) for method, path, _ in both.told[before:]]

        async def probed(url: str, token: str) -> int:
            written = token if "/2.1.1/" in url else base64.b64encode(token.encode()).decode()
            async with httpx.AsyncClient() as client:
                return (await client.get(url, headers={"Authorization": f"Token {written}"})).status_code

        once = [
            ("PUT", f"tariffs/{HERE}/standard-ac"),
            ("PUT", f"locations/{HERE}/LOC1"),
            ("PUT", f"sessions/{HERE}/{SESSION}"),
        ]
        assert await move("2.2.1") == once
        assert (both.told[-1][2]["country_code"], "cdr_token" in both.told[-1][2]) == ("BE", True)
        world.end(energy_mwh=3_200_000)
        world.bill(partner)
        await world.all_told()
        before = len(both.told)
        assert await move("2.1.1") == once
        assert "type" in both.told[before + 1][2]

    assert [path for _, path, _ in both.told].count("cdrs") == 1
    assert both.complaints == []


async def test_we_move_a_partner_to_another_version(world: World, door: Door, both: Partner211) -> None:  # CR-27, CR-28
    both.inbound = {"token-A"}
    await door[0].register_at("emsp", both.versions_url, "token-A", version="2.1.1")

    moved = await door[0].rotate("emsp", "2.2.1")
    assert (moved.version, moved.endpoint("sessions", "RECEIVER")) == ("2.2.1", f"{both.base_url}/2.2.1/sessions")
    stayed = await door[0].rotate("emsp")
    assert stayed.version == "2.2.1"
    back = await door[0].rotate("emsp", "2.1.1")
    assert (back.version, back.endpoint("sessions", "RECEIVER")) == ("2.1.1", f"{both.base_url}/2.1.1/sessions")
    assert both.complaints == []


# ---- cards ----------------------------------------------------------------------------------------------------------


def cards(world: World) -> dict[str, tuple[str, str, str, bool]]:
    with world.database.read() as connection:
        found = connection.execute(Token.__table__.select().order_by(Token.id))
        return {row.uid: (row.type, row.country_code, row.contract_id, row.valid) for row in found}


async def test_its_cards_are_of_its_one_party(world: World, door: Door, emsp: Partner211) -> None:  # V1-14, TK-21
    partner = await registered(world, door, emsp)
    emsp.issue("04AA")
    emsp.issue("app-1", type="OTHER", country_code="FR", party_id="XXX")
    sync = TokenSync(world.database, world.partners, world.client, clock=world.clock)

    pulled = await sync.pull(partner)

    assert (pulled.listed, pulled.changed, pulled.unreadable) == (2, 2, 0)
    assert cards(world) == {
        "04AA": ("RFID", "DE", "DE-TNM-C00000000-X", True),
        "app-1": ("OTHER", "DE", "DE-TNM-C00000001-X", True),
    }


async def test_the_list_of_the_specification_is_read(
    world: World, door: Door, emsp: Partner211
) -> None:  # XT-04, V1-14
    partner = await registered(world, door, emsp)
    emsp.cards = field_tables.vector("transport__get_token_list_response", "2.1.1")["data"]

    pulled = await TokenSync(world.database, world.partners, world.client, clock=world.clock).pull(partner)

    assert (pulled.listed, pulled.unreadable) == (len(emsp.cards), 0)
    assert {uid: card[2] for uid, card in cards(world).items()} == {each["uid"]: each["auth_id"] for each in emsp.cards}


async def test_after_a_move_the_whole_list_is_read_again(world: World, door: Door, both: Partner211) -> None:  # CR-28
    partner = await registered(world, door, both)
    both.issue("04AA")
    sync = TokenSync(world.database, world.partners, world.client, clock=world.clock)
    await sync.pull(partner)

    await both.register(door[1], both.outbound, method="PUT", version="2.2.1")

    assert world.partner().tokens_pulled_at is None  # so it is due
    assert (await sync.pull(partner)).changed == 0
    assert cards(world) == {"04AA": ("RFID", "DE", "DE-TNM-C00000000-X", True)}


async def test_a_card_is_asked_for_in_its_own_words(world: World, door: Door, emsp: Partner211) -> None:  # TK-45, V1-14
    partner = await registered(world, door, emsp)
    owner = TokenOwnerAtPartner(world.database, world.partners, world.client, clock=world.clock)
    question = Question(
        token_id=1,
        station_id="CP001",
        owner_id=partner,
        country_code="DE",
        party_id="TNM",
        uid="app-1",
        type="APP_USER",
        location_id="LOC1",
        evse_uids=("CP001-1",),
    )

    answer = await owner.ask(question, timeout_s=5)

    assert (answer.status, answer.authorization_reference) == (AuthorizationStatus.ACCEPTED, None)
    assert emsp.authorized == [("app-1", "OTHER", {"location_id": "LOC1", "evse_uids": ["CP001-1"]})]
    emsp.allowed = "NO_CREDIT"
    assert (await owner.ask(question, timeout_s=5)).status is AuthorizationStatus.NO_CREDIT
    assert emsp.complaints == []


# ---- results of commands --------------------------------------------------------------------------------------------


async def test_results_have_the_words_of_211(world: World, door: Door, emsp: Partner211) -> None:  # V1-15, CM-04
    partner = await registered(world, door, emsp)
    for outcome in Outcome:
        commanded(world, emsp, partner, "START_SESSION", outcome)
    reserved = commanded(world, emsp, partner, "RESERVE_NOW", Outcome.ACCEPTED)
    calls = Callbacks(
        world.database,
        world.partners,
        world.client,
        wake=world.wake,
        clock=world.clock,
        poll_s=0.02,
        retry_after_s=0.01,
    )
    async with running(calls.run()):
        await until(lambda: len(emsp.results) == len(Outcome) + 1)
        keep_reserved(
            world, reserved, state="cancelled"
        )  # what it was granted is withdrawn, for which there is no word
        world.wake()
        await until(lambda: withdrawn(world, reserved))

    assert len(emsp.results) == len(Outcome) + 1
    assert emsp.complaints == []


def commanded(world: World, emsp: Partner211, partner: int, command: str, outcome: Outcome) -> str:
    uid, now = str(uuid.uuid4()), world.clock()
    world.keep(
        RemoteRequest(
            id=uid,
            kind="start_remotely",
            station_id="CP001",
            command={},
            state="done",
            outcome=outcome.value,
            detail="as the charger says",
            requested_by=f"partner:{partner}",
            created_at=now,
            deadline_at=now + timedelta(seconds=30),
        ),
        CommandCallback(
            request_id=uid,
            partner_id=partner,
            command=command,
            response_url=f"{emsp.base_url}/2.1.1/commands/{command}/{uid}",
            country_code="DE",
            party_id="TNM",
            created_at=now,
        ),
    )
    return uid


def keep_reserved(world: World, request_id: str, *, state: str) -> None:
    world.keep(
        Reservation(
            number=1,
            station_id="CP001",
            evse=1,
            reference="r1",
            tag="T",
            tag_key="t",
            state=state,
            requested_by="cli:eve",
            remote_request_id=request_id,
            created_at=world.clock(),
            expires_at=world.clock() + timedelta(hours=1),
        )
    )


def withdrawn(world: World, request_id: str) -> bool:
    with world.database.read() as connection:
        query = select(CommandCallback.withdrawn_at).where(CommandCallback.request_id == request_id)
        return connection.execute(query).scalar_one() is not None
