"""Two operators meet behind one hub: each roams with the same eMSP as if it were alone, and learns nothing of the other."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crud.models import Delivery, HubClient
from csms.database import Database
from csms.import_network import import_network
from csms.models import Token
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import Settings, load
from tests.ocpi_bridge.conftest import SECRET_KEY
from tests.ocpi_bridge.recording_hub import HUB, Party, RecordingHub, behind
from tests.ocpi_bridge.roaming_world import until
from tests.ocpi_bridge.small_network import PASSWORD, site, tariff
from tests.paths.charger import Charger, charging_point
from tests.paths.processes import free_ports

ONE, TWO = ("BE", "ONE"), ("NL", "TWO")  # the operators
OTHER = {ONE: TWO, TWO: ONE}
A = ("DE", "TNM")  # the eMSP behind the hub
CARD = "04AAAA01"
OWN_CARDS = {ONE: "OWN-CARD-ONE", TWO: "OWN-CARD-TWO"}
EVER = "2020-01-01T00:00:00Z"
PATIENCE_S = 30.0

pytestmark = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)  # of database_url


def network(party: Party) -> dict[str, Any]:
    """The same ids at both."""
    own = {"uid": OWN_CARDS[party], "contract_id": f"{party[0]}-{party[1]}-C1", "valid": True}
    return {"tariffs": [tariff(party)], "locations": [site(party, "LOC1", "CP001")], "tokens": [own]}


class Operator:
    """A roambridge of its own: its party, its database, its ports. It can leave and come back."""

    def __init__(self, party: Party, database_url: str, folder: Path) -> None:
        ocpp_port, http_port = free_ports(2)
        self.party = party
        self.ocpp_url = f"ws://127.0.0.1:{ocpp_port}/ocpp"
        self.settings: Settings = load(
            {
                "ROAMBRIDGE_DATABASE_URL": database_url,
                "ROAMBRIDGE_DATA_DIR": str(folder),
                "ROAMBRIDGE_COUNTRY_CODE": party[0],
                "ROAMBRIDGE_PARTY_ID": party[1],
                "ROAMBRIDGE_OPERATOR_NAME": f"Operator {party[1]}",
                "ROAMBRIDGE_SECRET_KEY": SECRET_KEY,
                "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
                "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{ocpp_port}",
                "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
                "ROAMBRIDGE_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
            },
            env_file=None,
        )
        self.service: Service | None = None

    async def open(self) -> None:
        """For the first time: with its site."""
        await asyncio.to_thread(self._import)
        await self.start()

    def _import(self) -> None:
        database = Database(self.settings.database_url)
        with database.write() as connection:
            now, name = datetime.now(UTC), self.settings.operator_name
            import_network(connection, network(self.party), default_party=self.party, operator_name=name, now=now)
        database.dispose()

    async def start(self) -> None:
        service = Service(self.settings)
        await service.start()
        self.service = service

    async def stop(self) -> None:
        service, self.service = self.service, None
        if service is not None:
            await service.stop()

    async def join(self, hub: RecordingHub) -> None:
        """Registered, and the hub's list is read."""
        assert self.service is not None
        await self.service.registration.register_at("hub", f"{hub.base_url}/versions", hub.invite())
        await until(lambda: A in self.clients())

    def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        assert self.service is not None
        with self.service.database.read() as connection:
            return [tuple(row) for row in connection.execute(select(*columns))]

    def clients(self) -> dict[Party, Party]:
        """Role and status of all that stand behind the hub, as this operator knows them."""
        told = self.rows(HubClient.country_code, HubClient.party_id, HubClient.role, HubClient.status)
        return {(country_code, party_id): (role, status) for country_code, party_id, role, status in told}

    @contextlib.asynccontextmanager
    async def charger(self) -> AsyncIterator[Charger]:
        async with charging_point(self.ocpp_url, "CP001", PASSWORD) as charger:
            await charger.boot()
            await charger.status("Available")
            yield charger


@dataclass(kw_only=True)
class Pair:
    hub: RecordingHub
    emsp: EmspSimulator
    ours: dict[Party, Operator]

    def addressed(self, party: Party) -> EmspSimulator:
        """The eMSP, which speaks to this party of the hub from now on."""
        self.emsp.cpo_parties.sort(key=lambda known: known != party)
        return self.emsp

    async def card(self) -> dict[str, Any]:
        """The eMSP's, told to all behind the hub."""
        token = self.emsp.issue_token(CARD, whitelist="ALWAYS")
        assert (await self.addressed(HUB).push_token(token)).ok
        return token

    async def session(self, party: Party) -> dict[str, Any]:
        """The only one of this operator that the eMSP knows, once it does."""

        def known() -> list[dict[str, Any]]:
            return [each for each in self.emsp.sessions.values() if party_of(each) == party]

        (session,) = await self.emsp.wait_for(known, PATIENCE_S)
        return session

    async def cdr(self, party: Party) -> dict[str, Any]:
        def known() -> list[dict[str, Any]]:
            return [each for each in self.emsp.cdrs if party_of(each) == party]

        (cdr,) = await self.emsp.wait_for(known, PATIENCE_S)
        return cdr

    def heard(self) -> set[tuple[Any, ...]]:
        """What the hub passed on to an operator: to whom, of which module, in whose name."""
        return {(each.reached, each.module, each.sender) for each in self.hub.passed if each.reached in self.ours}


def party_of(entry: dict[str, Any]) -> Party:
    return entry["country_code"], entry["party_id"]


@pytest.fixture
async def pair(sqlite_template: Path, database_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    """One keeps its things in SQLite, the other in PostgreSQL; neither has joined the hub."""
    one, two = (tmp_path / name for name in ("one", "two"))
    shutil.copytree(sqlite_template, one)
    two.mkdir()
    ours = {ONE: Operator(ONE, f"sqlite:///{one / 'roambridge.db'}", one), TWO: Operator(TWO, database_url, two)}
    hub = RecordingHub()
    async with contextlib.AsyncExitStack() as open_:
        for operator in ours.values():
            open_.push_async_callback(operator.stop)
            await operator.open()
        await open_.enter_async_context(hub.open())
        emsp = await open_.enter_async_context(EmspSimulator(party=A, strict=True))
        behind(hub, emsp, ONE, TWO)
        yield Pair(hub=hub, emsp=emsp, ours=ours)


@pytest.fixture
async def joined(pair: Pair) -> Pair:
    for operator in pair.ours.values():
        await operator.join(pair.hub)
    await pair.hub.tell(ONE, TWO, "CONNECTED", "2026-03-04T12:30:00Z")
    return pair


async def test_each_hears_of_the_other_and_the_emsp_holds_the_sites_of_both(pair: Pair) -> None:
    """HC-01, HC-03, RT-06, RT-07, RT-10: the ids are the same, the parties are not."""
    hub, emsp, one, two = pair.hub, pair.emsp, pair.ours[ONE], pair.ours[TWO]
    await one.join(hub)
    assert one.clients() == {A: ("EMSP", "CONNECTED")}
    await two.join(hub)
    assert two.clients() == {A: ("EMSP", "CONNECTED"), ONE: ("CPO", "CONNECTED")}
    assert (await hub.tell(ONE, TWO, "CONNECTED", "2026-03-04T12:30:00Z")).json()["status_code"] == 1000
    assert one.clients() == {A: ("EMSP", "CONNECTED"), TWO: ("CPO", "CONNECTED")}

    for party in (ONE, TWO):
        site = await emsp.wait_for(partial(emsp.locations.find, *party, "LOC1"), PATIENCE_S)
        price = await emsp.wait_for(partial(emsp.tariffs.find, *party, "standard"), PATIENCE_S)
        assert party_of(site) == party_of(price) == party
        listed = await pair.addressed(party).pull("locations")
        assert listed == [site]
        assert await emsp.pull("tariffs") == [price]
    await hub.until(lambda: len([each for each in hub.passed if each.method == "PUT" and each.reached is None]) == 4)
    pushed = [each for each in hub.passed if each.method == "PUT"]
    assert {(each.module, each.sender, each.to) for each in pushed} == {
        (module, party, HUB) for module in ("locations", "tariffs") for party in (ONE, TWO)
    }
    assert {each.reached for each in pushed} == {A, None}  # the hub, and the eMSP by it
    of_all = await pair.addressed(HUB).fetch("locations")  # a list of the hub is of all behind it
    assert {party_of(site) for site in of_all.data} == {ONE, TWO}
    assert emsp.complaints == []


async def test_a_card_charges_at_both_and_neither_learns_of_the_other(joined: Pair) -> None:
    """RT-05, RT-07, XT-06"""
    hub, emsp = joined.hub, joined.emsp
    card = await joined.card()
    sessions, cdrs = {}, {}
    async with joined.ours[ONE].charger() as at_one, joined.ours[TWO].charger() as at_two:
        chargers, began = {ONE: at_one, TWO: at_two}, {}
        for party, charger in chargers.items():
            assert await charger.authorize(CARD) == "Accepted"
            assert await charger.authorize(OWN_CARDS[OTHER[party]]) == "Invalid"
            began[party] = await charger.begin(CARD, at=datetime.now(UTC) - timedelta(minutes=5))
            sessions[party] = await joined.session(party)
        assert joined.heard() == {(party, "tokens", A) for party in (ONE, TWO)}
        await hub.until(lambda: len(hub.through("sessions", "PUT")) == 2)
        passed = list(hub.passed)

        for asking, asked in OTHER.items():
            await nothing_is_told(hub, asking, asked, sessions[asked]["id"], card)
        hub.passed.clear()
        for party, charger in chargers.items():
            assert charger.asked.empty()
            await charger.finish(began[party].transaction_id, 3000, at=datetime.now(UTC))
            cdrs[party] = await joined.cdr(party)
            await emsp.wait_for(partial(ended, emsp, sessions[party]["id"]), PATIENCE_S)
    await hub.until(lambda: len(hub.through("cdrs", "POST")) == 2)
    assert joined.heard() == set()
    passed += hub.passed

    for asking, asked in OTHER.items():
        await nothing_is_listed(hub, asking, asked)
        assert not (await hub.asked_by(asking, asked, "GET", "cdrs", cdrs[asked]["id"])).is_success

    for party in (ONE, TWO):
        for module, told in (("sessions", sessions[party]), ("cdrs", cdrs[party])):
            sent = [each for each in passed if (each.module, each.sender) == (module, party)]
            assert {(each.to, each.reached) for each in sent} == {(A, A)}, module
            bodies = [each.body for each in sent if each.method != "PATCH"]
            assert {(party_of(body), body["id"]) for body in bodies} == {(party, told["id"])}, module
            assert [each["id"] for each in await joined.addressed(party).pull(module, date_from=EVER)] == [told["id"]]
        owners = joined.ours[party].rows(Token.country_code, Token.party_id, Token.uid)
        assert set(owners) == {(*A, CARD), (*party, OWN_CARDS[party])}
    assert len(emsp.sessions) == len(emsp.cdrs) == 2
    assert emsp.complaints == []


async def nothing_is_told(hub: RecordingHub, asking: Party, asked: Party, session: str, card: dict[str, Any]) -> None:
    """Not by list, not by id, not by session, not by card."""
    await nothing_is_listed(hub, asking, asked)
    by_id = [
        ("GET", "sessions", session),
        ("PUT", "sessions", session, "charging_preferences"),
        ("GET", "tokens", *asked, OWN_CARDS[asked]),
        ("GET", "tokens", *A, CARD),
        ("PATCH", "tokens", *A, CARD),
    ]
    body = {"PUT": {"profile_type": "FAST"}, "PATCH": {"valid": False, "last_updated": "2027-01-01T00:00:00Z"}}
    for method, module, *path in by_id:
        answer = await hub.asked_by(asking, asked, method, module, *path, body=body.get(method))
        assert answer.json()["status_code"] >= 2000, (method, module, path)
        assert "data" not in answer.json()
    stop = {"response_url": f"{hub.base_url}/nowhere", "session_id": session}
    answer = await hub.asked_by(asking, asked, "POST", "commands", "STOP_SESSION", body=stop)
    assert answer.json()["data"]["result"] == "UNKNOWN_SESSION"
    start = {"response_url": f"{hub.base_url}/nowhere", "token": card, "location_id": "LOC1"}
    answer = await hub.asked_by(asking, asked, "POST", "commands", "START_SESSION", body=start)
    assert answer.json()["status_code"] == 2001
    answered = [each for each in hub.passed if (each.sender, each.to) == (asking, asked)]
    assert [each.reached for each in answered] == [asked] * 9  # by the operator itself, not by the hub


async def nothing_is_listed(hub: RecordingHub, asking: Party, asked: Party) -> None:
    for module in ("sessions", "cdrs"):
        answer = await hub.asked_by(asking, asked, "GET", module, query=f"?date_from={EVER}")
        assert (answer.status_code, answer.json()["data"]) == (200, []), module


def ended(emsp: EmspSimulator, session: str) -> bool:
    return bool(emsp.sessions[session]["status"] == "COMPLETED")


async def test_a_start_reaches_the_operator_that_it_is_addressed_to(joined: Pair) -> None:  # RT-05, RT-13, XT-06
    hub, card = joined.hub, await joined.card()
    async with joined.ours[ONE].charger() as at_one, joined.ours[TWO].charger() as at_two:
        for party, charger, other in ((TWO, at_two, at_one), (ONE, at_one, at_two)):
            hub.passed.clear()
            asked = await joined.addressed(party).start_session(card, "LOC1")
            assert asked.result == "ACCEPTED"
            start = await charger.asked_for("RemoteStartTransaction")
            await joined.emsp.wait_for(partial(joined.emsp.command_results.get, asked.uid), PATIENCE_S)
            began = await charger.begin(start["id_tag"], at=datetime.now(UTC) - timedelta(minutes=5))
            session = await joined.session(party)
            assert joined.heard() == {(party, "commands", A)}
            (callback,) = await hub.until(lambda: hub.through("callback"))
            assert (callback.sender, callback.to) == (party, A)

            # The other does not know it.
            stop = await joined.addressed(OTHER[party]).stop_session(session["id"])
            assert stop.result == "UNKNOWN_SESSION"
            assert other.asked.empty()
            await charger.finish(began.transaction_id, 2000, at=datetime.now(UTC))
            await joined.cdr(party)
    assert joined.emsp.complaints == []


async def test_while_one_is_away_the_other_roams_on(joined: Pair) -> None:  # HC-03, HC-04
    hub, emsp, one, two = joined.hub, joined.emsp, joined.ours[ONE], joined.ours[TWO]
    card = await joined.card()
    async with two.charger() as charger:
        began = await charger.begin(CARD, at=datetime.now(UTC) - timedelta(minutes=5))
        session = await joined.session(TWO)
        await one.stop()
        await hub.tell(TWO, ONE, "OFFLINE", "2026-03-04T13:00:00Z")
        assert two.clients() == {A: ("EMSP", "CONNECTED"), ONE: ("CPO", "OFFLINE")}
        hub.passed.clear()
        refused = await joined.addressed(ONE).start_session(card, "LOC1")
        assert refused.reply.status_code == 4003
        emsp.complaints.clear()  # the hub answers in its own name
        await charger.finish(began.transaction_id, 3000, at=datetime.now(UTC))
        await joined.cdr(TWO)
        await emsp.wait_for(partial(ended, emsp, session["id"]), PATIENCE_S)

        # And begins anew; what the eMSP tells all behind the hub arrives.
        await joined.addressed(HUB).patch_token(CARD, visual_number="AAAA-01")
        assert (await joined.addressed(TWO).start_session(card, "LOC1")).result == "ACCEPTED"
        await charger.asked_for("RemoteStartTransaction")
    assert {(each.module, each.sender, each.reached) for each in hub.passed if each.reached != A} == {
        ("commands", A, None),
        ("tokens", A, None),
        ("tokens", A, TWO),
        ("commands", A, TWO),
    }
    await until(lambda: all(wanted == told for wanted, told in two.rows(Delivery.wanted, Delivery.told)))

    await one.start()
    await hub.tell(TWO, ONE, "CONNECTED", "2026-03-04T14:00:00Z")
    assert two.clients()[ONE] == ("CPO", "CONNECTED")
    async with one.charger() as charger:
        assert (await joined.addressed(ONE).start_session(card, "LOC1")).result == "ACCEPTED"
        await charger.asked_for("RemoteStartTransaction")
    assert emsp.complaints == []
