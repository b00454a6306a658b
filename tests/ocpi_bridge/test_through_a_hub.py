"""The service and its partners meet through a hub: each hears what is meant for it, and nobody acts for another."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from crud.models import Delivery, HubClient
from csms.journal import Fact, FactType, append
from csms.models import Alert, Connector, Evse, Location, Tariff, Token
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.ocpi_bridge.conftest import Cli
from tests.ocpi_bridge.recording_hub import HUB, RecordingHub, behind
from tests.ocpi_bridge.roaming_world import until
from tests.ocpi_bridge.small_network import PASSWORD, site, tariff
from tests.paths.charger import Charger, charging_point

ONE, TWO = ("BE", "BEC"), ("BE", "TWO")  # our parties
A, B = ("DE", "TNM"), ("FR", "ABC")  # the eMSPs behind the hub

NETWORK = {
    "parties": [{"country_code": cc, "party_id": party} for cc, party in (ONE, TWO)],
    "tariffs": [tariff(ONE), tariff(TWO)],
    "locations": [site(ONE, "LOC1", "CP001"), site(TWO, "LOC2", "CP002")],
}


@dataclass
class Roaming:
    service: Service
    hub: RecordingHub
    a: EmspSimulator
    b: EmspSimulator
    partner_id: int

    def deliveries(self, module: str) -> list[Any]:
        query = select(Delivery.__table__).where(Delivery.module == module).order_by(Delivery.id)
        with self.service.database.read() as connection:
            return list(connection.execute(query).all())

    def statuses(self) -> dict[tuple[str, str], str]:
        with self.service.database.read() as connection:
            rows = connection.execute(select(HubClient.__table__)).all()
        return {(row.country_code, row.party_id): row.status for row in rows}

    def pulled(self) -> object:
        """Since when the list of cards is known; one that is issued after is on no list of ours."""
        with self.service.database.read() as connection:
            return self.service.partners.get(connection, self.partner_id).tokens_pulled_at

    async def card(self, emsp: EmspSimulator, uid: str) -> dict[str, Any]:
        token = emsp.issue_token(uid, whitelist="ALWAYS", last_updated="2026-01-01T00:00:00Z")
        assert (await emsp.push_token(token)).ok
        return token

    @contextlib.asynccontextmanager
    async def charger(self, station_id: str = "CP001") -> AsyncIterator[Charger]:
        async with charging_point(f"ws://127.0.0.1:{self.service.gateway.port}/ocpp", station_id, PASSWORD) as charger:
            await charger.boot()
            await charger.status("Available")
            yield charger


@pytest.fixture
async def roaming(cli: Cli, environment: Callable[..., None], tmp_path: Path) -> AsyncIterator[Roaming]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN=address, PUBLIC_URL=f"http://{address}")
    network = tmp_path / "network.yaml"
    network.write_text(json.dumps(NETWORK))
    imported = await asyncio.to_thread(cli, "import", str(network))
    assert imported.exit_code == 0, imported.stderr
    service = Service(load())
    await service.start()
    hub = RecordingHub()
    async with hub.open(), EmspSimulator(party=A, strict=True) as a, EmspSimulator(party=B, strict=True) as b:
        behind(hub, a, ONE, TWO)
        behind(hub, b, ONE, TWO)
        try:
            partner = await service.registration.register_at("hub", f"{hub.base_url}/versions", hub.invite())
            roaming = Roaming(service=service, hub=hub, a=a, b=b, partner_id=partner.id)
            await until(lambda: roaming.statuses().get(A))
            yield roaming
        finally:
            await service.stop()


only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


# ---- what everybody may know ----------------------------------------------------------------------------------------


async def test_sites_and_tariffs_are_broadcast_once_and_arrive_as_they_are(roaming: Roaming) -> None:
    """RT-06, RT-07, RT-17, LO-06, PU-18"""
    hub = roaming.hub
    await hub.until(lambda: len(hub.through("locations")) == 6)  # each site: to the hub once, and from there to each
    assert {"LOC1", "LOC2"} == roaming.b.locations.keys() & roaming.a.locations.keys()
    for party, location_id in ((ONE, "LOC1"), (TWO, "LOC2")):
        sent = [each for each in hub.through("locations") if each.path.endswith(location_id)]
        assert {(each.method, each.to, each.sender) for each in sent} == {("PUT", HUB, party)}
        assert {each.reached for each in sent} == {A, B, None}
        assert len(sent) == 3
        assert {each.path for each in sent} == {"/".join((*party, location_id))}
        # The client's answer goes to the hub (RT-08).
        assert {each.answered for each in sent if each.reached} == {(HUB, A), (HUB, B)}
    await hub.until(lambda: len([each for each in hub.through("tariffs") if each.reached is None]) == 2)
    tariffs = [(each.method, each.to, each.sender) for each in hub.through("tariffs") if each.reached is None]
    assert sorted(tariffs) == [("PUT", HUB, ONE), ("PUT", HUB, TWO)]
    (listed,) = (await hub.ask(ONE, "GET", "locations", sender=A)).json()["data"]
    assert listed == roaming.a.locations["LOC1"]
    assert (roaming.a.complaints, roaming.b.complaints) == ([], [])


@only_sqlite
async def test_a_tariff_is_taken_back_by_an_open_request(roaming: Roaming) -> None:  # RT-09, TA-03
    hub = roaming.hub
    await hub.until(lambda: roaming.a.tariffs.find(*ONE, "standard") and roaming.b.tariffs.find(*ONE, "standard"))
    await until(lambda: all(row.wanted == row.told for row in roaming.deliveries("tariffs")))
    with roaming.service.database.write() as connection:
        now = roaming.service.clock()
        first = connection.execute(select(Tariff.id).where(Tariff.party_id == ONE[1])).scalar_one()
        evses = select(Evse.id).join(Location, Location.id == Evse.__table__.c.location_row)
        connection.execute(
            Connector.__table__.update()
            .where(Connector.__table__.c.evse_row.in_(evses.where(Location.party_id == ONE[1])))
            .values(tariff_ids=[])
        )
        connection.execute(Tariff.__table__.update().where(Tariff.id == first).values(removed=True))
        append(connection, [Fact(type=FactType.TARIFF_CHANGED, subject=str(first))], now=now)
    roaming.service.wake()
    await hub.until(lambda: roaming.a.tariffs.find(*ONE, "standard") is None)
    (taken,) = {(each.to, each.sender) for each in hub.through("tariffs", "DELETE")}
    assert taken == (None, ONE)


# ---- what is meant for one ------------------------------------------------------------------------------------------


async def test_a_charge_through_the_hub_is_heard_of_by_its_own_emsp_only(roaming: Roaming) -> None:
    """RT-05, RT-07, RT-13, XT-06: command, callback, session and CDR; and what another client of the same hub sees of them."""
    hub, a, b = roaming.hub, roaming.a, roaming.b
    card, other = await roaming.card(a, "04AAAA01"), await roaming.card(b, "04BBBB01")
    with roaming.service.database.read() as connection:
        kept = connection.execute(select(Token.last_updated).where(Token.uid == card["uid"])).scalar_one()
    assert kept == datetime(2026, 1, 1, tzinfo=UTC)  # RT-17
    async with roaming.charger() as charger:
        asked = await a.start_session(card, "LOC1")
        assert asked.result == "ACCEPTED"
        start = await charger.asked_for("RemoteStartTransaction")
        await a.wait_for(lambda: asked.uid in a.command_results)
        (callback,) = await hub.until(lambda: hub.through("callback"))
        assert (callback.sender, callback.to, callback.reached) == (ONE, A, A)
        began = await charger.begin(start["id_tag"], at=datetime.now(UTC) - timedelta(minutes=5))
        await a.wait_for(lambda: a.sessions)
        (session_id,) = a.sessions

        # Another client of the hub sees nothing of it, by list or by id, and cannot stop it.
        assert [each["id"] for each in await a.pull("sessions", date_from="2020-01-01T00:00:00Z")] == [session_id]
        assert await b.pull("sessions", date_from="2020-01-01T00:00:00Z") == []
        assert (await b.stop_session(session_id)).result == "UNKNOWN_SESSION"
        assert (await b.start_session(card, "LOC1")).reply.status_code == 2001
        for method, body in (("GET", None), ("PUT", card), ("PATCH", {"valid": False, "last_updated": a.now()})):
            url = f"{hub.endpoints_for_emsp['tokens', 'RECEIVER']}/{A[0]}/{A[1]}/{card['uid']}"
            assert not (await b.call(method, url, body)).ok, method

        stopped = await a.stop_session(session_id)
        assert stopped.result == "ACCEPTED"
        await charger.asked_for("RemoteStopTransaction")
        await charger.finish(began.transaction_id, 3000, at=datetime.now(UTC))
        await a.wait_for(lambda: a.cdrs)
    assert [each["id"] for each in await a.pull("cdrs")] == [a.cdrs[0]["id"]]
    assert await b.pull("cdrs") == []
    for module in ("sessions", "cdrs"):
        passed = [each for each in hub.through(module) if each.method != "GET"]
        assert {(each.sender, each.to, each.reached) for each in passed} == {(ONE, A, A)}, module
    assert not b.sessions
    assert not b.cdrs
    assert other["uid"] not in json.dumps(await a.pull("cdrs"), default=str)
    assert (a.complaints, b.complaints) == ([], [])
    async with httpx.AsyncClient(trust_env=False) as prometheus:
        told = (await prometheus.get(f"{roaming.service.settings.public_url}/metrics")).text.splitlines()
    assert 'roambridge_partner_circuit{partner="hub"} 0.0' in told
    assert any(line.startswith('roambridge_partner_last_success_timestamp_seconds{partner="hub"} 1.') for line in told)


@only_sqlite
async def test_each_of_our_parties_answers_for_its_own(roaming: Roaming) -> None:  # RT-05, RT-10, RT-11, RT-12
    hub = roaming.hub

    async def seen(**asked: Any) -> list[str]:
        answer = await hub.ask(ONE, "GET", "locations", **asked)
        return [location["id"] for location in answer.json()["data"]]

    assert await seen(sender=A, to=ONE) == ["LOC1"]
    assert await seen(sender=A, to=TWO) == ["LOC2"]
    assert await seen(sender=HUB, to=HUB) == ["LOC1", "LOC2"] == await seen(sender=HUB, to=None)
    unknown = await hub.ask(ONE, "GET", "locations", "LOC2", sender=A, to=ONE)
    assert (unknown.status_code, unknown.json()["status_code"]) == (404, 2003)
    answer = await hub.ask(ONE, "GET", "locations", sender=A, to=("BE", "XXX"))
    assert answer.json()["status_code"] == 2001
    answer = await hub.ask(ONE, "GET", "tariffs", sender=B, to=TWO)
    ends = [answer.headers[f"ocpi-{end}"] for end in ("to-country-code", "to-party-id", "from-party-id")]
    assert ends == ["FR", "ABC", "TWO"]


@only_sqlite
async def test_the_hubs_broadcast_of_cards_is_taken_and_answered_to_the_hub(roaming: Roaming) -> None:  # RT-08, CR-34
    token = roaming.a.issue_token("04CCCC01", last_updated="2026-01-01T00:00:00Z")
    place = (*A, token["uid"])
    answer = await roaming.hub.ask(ONE, "PUT", "tokens", *place, sender=HUB, json=token)
    assert answer.json()["status_code"] == 1000
    assert [answer.headers[f"ocpi-{end}"] for end in ("to-party-id", "from-party-id")] == ["HUB", "BEC"]
    stranger = token | {"country_code": "ES", "party_id": "NOO"}
    refused = await roaming.hub.ask(ONE, "PUT", "tokens", "ES", "NOO", token["uid"], sender=HUB, json=stranger)
    assert (refused.status_code, refused.json()["status_code"]) == (404, 2000)


@only_sqlite
async def test_all_cards_behind_the_hub_are_read_from_the_hub(roaming: Roaming) -> None:  # RT-10, CR-34
    roaming.a.issue_token("04AAAA02"), roaming.b.issue_token("04BBBB02")
    pulled = await roaming.service.partnership.token_sync.pull(roaming.partner_id, full=True)
    assert (pulled.listed, pulled.failure) == (2, None)
    reads = roaming.hub.through("tokens", "GET")
    assert {(each.to, each.sender) for each in reads} == {(HUB, ONE)}
    with roaming.service.database.read() as connection:
        owners = connection.execute(select(Token.country_code, Token.party_id, Token.uid).order_by(Token.uid)).all()
    assert [tuple(row) for row in owners] == [(*A, "04AAAA02"), (*B, "04BBBB02")]


@only_sqlite
async def test_a_card_that_nobody_listed_is_asked_about_by_an_open_request(roaming: Roaming) -> None:  # RT-09, TK-35
    hub, b = roaming.hub, roaming.b
    await until(roaming.pulled)
    b.issue_token("04EEEE01", whitelist="NEVER", last_updated="2026-01-01T00:00:00Z")
    async with roaming.charger() as charger:
        assert await charger.authorize("04EEEE01") == "Invalid"
        assert not hub.through("tokens", "POST")
        with roaming.service.database.write() as connection:
            roaming.service.partners.ask_of_strangers(connection, roaming.partner_id, True)
        assert await charger.authorize("04EEEE01") == "Accepted"
    (asked, answered) = hub.through("tokens", "POST")
    assert (asked.to, asked.sender, asked.reached, asked.http_status) == (None, ONE, A, 404)
    assert (answered.to, answered.reached, answered.http_status) == (None, B, 200)
    with roaming.service.database.read() as connection:
        row = connection.execute(select(Token.country_code, Token.party_id).where(Token.uid == "04EEEE01")).one()
    assert tuple(row) == B


# ---- who can be reached ---------------------------------------------------------------------------------------------


async def test_to_a_party_that_is_away_nothing_is_sent_and_its_return_brings_the_present_state_once(
    roaming: Roaming,
) -> None:
    """HC-01 to HC-07, RT-14, PU-08"""
    hub, a = roaming.hub, roaming.a
    assert roaming.statuses()[A] == roaming.statuses()[B] == "CONNECTED"
    assert {module for module, _ in hub.configuration} == {"credentials", "hubclientinfo"}
    assert not [name for _, headers in hub.configuration for name in headers if name.startswith("ocpi-")]  # HC-06
    await roaming.card(a, "04AAAA01")
    told = await hub.tell(ONE, A, "OFFLINE", "2026-03-04T13:00:00Z")
    assert (told.status_code, told.json()["status_code"], "ocpi-from-party-id" in told.headers) == (200, 1000, False)
    async with roaming.charger() as charger:
        began = await charger.begin("04AAAA01", at=datetime.now(UTC) - timedelta(minutes=6))
        await charger.meter(began.transaction_id, 1500, at=datetime.now(UTC) - timedelta(minutes=3))
        await charger.finish(began.transaction_id, 2000, at=datetime.now(UTC))
        waiting = await until(lambda: [row for row in roaming.deliveries("cdrs") if row.stopped])
        assert waiting[0].stopped == "hub: DE-TNM: is OFFLINE at hub"
    assert not hub.through("sessions")
    assert not hub.through("cdrs")

    # News that is older than what we know changes nothing.
    await hub.tell(ONE, A, "CONNECTED", "2026-03-04T12:30:00Z")
    assert roaming.statuses()[A] == "OFFLINE"
    await hub.tell(ONE, A, "CONNECTED", "2026-03-04T14:00:00Z")
    await a.wait_for(lambda: a.cdrs)
    await until(lambda: all(row.wanted == row.told for row in roaming.deliveries("cdrs")))
    assert [(each.method, each.body["status"]) for each in hub.through("sessions")] == [("PUT", "COMPLETED")]
    assert len(hub.through("cdrs")) == 1 == len(a.cdrs)


@only_sqlite
async def test_a_party_that_is_planned_or_suspended_is_the_operators_to_see(roaming: Roaming) -> None:  # HC-04
    for status, minute in (("PLANNED", 1), ("SUSPENDED", 2), ("CONNECTED", 3)):
        await roaming.hub.tell(ONE, B, status, f"2026-03-04T13:0{minute}:00Z")
        with roaming.service.database.read() as connection:
            query = select(Alert.kind, Alert.subject).where(Alert.closed_at.is_(None), Alert.kind.startswith("hub_"))
            alerts = [tuple(row) for row in connection.execute(query)]
        expected = [] if status == "CONNECTED" else [(f"hub_party_{status.lower()}", "hub: FR-ABC")]
        assert alerts == expected


@only_sqlite
async def test_a_hub_that_could_not_deliver_is_asked_who_is_there(roaming: Roaming) -> None:  # HC-05, RT-14
    hub, a = roaming.hub, roaming.a
    await roaming.card(a, "04AAAA01")
    hub.clients[A].status, hub.clients[A].last_updated = "OFFLINE", "2026-03-04T13:00:00Z"  # and did not tell
    roaming.service.partnership.hub_sync._pulled.clear()  # as if it were long ago
    async with roaming.charger() as charger:
        await charger.begin("04AAAA01", at=datetime.now(UTC))
        await until(lambda: roaming.statuses()[A] == "OFFLINE")
    assert [(each.to, each.reached) for each in hub.through("sessions")] == [(A, None)]
    (row,) = roaming.deliveries("sessions")
    assert row.stopped.startswith("hub: DE-TNM: hub: HTTP 200 OCPI 4003")
    await hub.tell(ONE, A, "CONNECTED", "2026-03-04T14:00:00Z")
    await a.wait_for(lambda: a.sessions)


@only_sqlite
async def test_cards_of_a_party_that_was_never_named_make_us_read_the_list_again(roaming: Roaming) -> None:
    """HC-05, CR-34: the hub took a client in, and did not tell."""
    await until(roaming.pulled)
    async with EmspSimulator(party=("ES", "NEW")) as late:
        behind(roaming.hub, late, ONE, TWO)
        late.issue_token("04FFFF01", last_updated="2026-01-01T00:00:00Z")
        roaming.service.partnership.hub_sync._pulled.clear()  # as if it were long ago
        first = await roaming.service.partnership.token_sync.pull(roaming.partner_id, full=True)
        assert (first.listed, first.unreadable) == (1, 1)
        await until(lambda: roaming.statuses().get(("ES", "NEW")) == "CONNECTED")
        second = await roaming.service.partnership.token_sync.pull(roaming.partner_id, full=True)
    assert (second.listed, second.unreadable, second.changed) == (1, 0, 1)


@only_sqlite
async def test_what_a_hub_says_of_its_clients_can_be_read_back_and_must_be_sound(roaming: Roaming) -> None:
    """HC-01, HC-02, ER-10, ER-11"""
    hub = roaming.hub
    known = await hub.ask(ONE, "GET", "hubclientinfo", "de", "tnm", sender=None, to=None)
    assert known.json()["data"] == hub._info(hub.clients[A])
    missing = await hub.ask(ONE, "GET", "hubclientinfo", "ES", "NOO", sender=None, to=None)
    assert missing.status_code == 404
    of_the_specification = {"country_code": "NL", "party_id": "ALL", "role": "CPO", "status": "PLANNED"}
    told = await hub.ask(ONE, "PUT", "hubclientinfo", "NL", "ALL", sender=None, to=None, json=of_the_specification)
    assert told.json()["status_code"] == 1000
    assert roaming.statuses()["NL", "ALL"] == "PLANNED"
    for wrong in ({"status": "BUSY"}, {"party_id": "OTH"}, {"country_code": 7}, {"last_updated": "soon"}):
        body = of_the_specification | wrong
        refused = await hub.ask(ONE, "PUT", "hubclientinfo", "NL", "ALL", sender=None, to=None, json=body)
        assert (refused.status_code, refused.json()["status_code"]) == (200, 2001), wrong
    assert (await hub.ask(ONE, "PATCH", "hubclientinfo", "NL", "ALL", sender=None, json={})).status_code == 405


@only_sqlite
async def test_who_is_no_hub_tells_nothing_of_clients(roaming: Roaming) -> None:  # HC-01
    async with EmspSimulator(party=("NL", "MSP")) as emsp:
        with roaming.service.database.write() as connection:
            token = roaming.service.partners.invite(connection, "msp", ONE, roaming.service.clock())
        await emsp.register(f"{roaming.service.settings.public_url}/ocpi/versions", token)
        url = f"{emsp.cpo_endpoints['hubclientinfo', 'RECEIVER']}/NL/ALL"
        body = {"country_code": "NL", "party_id": "ALL", "role": "CPO", "status": "CONNECTED"}
        reply = await emsp.call("PUT", url, body, configuration=True)
    assert (reply.http_status, reply.status_code) == (404, 2001)
    assert ("NL", "ALL") not in roaming.statuses()
