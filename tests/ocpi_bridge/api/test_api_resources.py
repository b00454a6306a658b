"""What the operator API shows of stations, cards, transactions and bills, and to whom."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from crud.hub_clients import client_from_ocpi, keep
from crud.models import Delivery
from crud.partners import Partners, Terms
from csms.alerts import Alarm, raise_alarms
from csms.billing.charge_records import bill
from csms.journal import Subscriber, Wake
from csms.models import (
    ActualSetting,
    ChargeRecord,
    DesiredSetting,
    RemoteRequest,
    SecurityEvent,
    Transaction,
)
from csms.sealing import Vault
from csms.users import Role
from ocpi_bridge.emsp_client import Delivery as Answer
from ocpi_bridge.emsp_client import Reply
from ocpi_bridge.health import Health
from tests.csms.core_story import told
from tests.ocpi_bridge.api.rig import CARD, MASKED, NOW, Rig, problem

CLIENT_INFO = {"country_code": "NL", "party_id": "ALL", "role": "CPO", "status": "PLANNED"}


async def items(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All pages, two at a time, followed by their links."""
    found: list[dict[str, Any]] = []
    response = await client.get(f"/api/v1/{path}", params={"limit": 2, **query})
    while True:
        assert response.status_code == 200, response.text
        page = response.json()
        found += page["items"]
        assert ("next" in response.links) is (page["next"] is not None)
        if page["next"] is None:
            return found
        response = await client.get(response.links["next"]["url"])


async def charged(rig: Rig, transactions: int = 1) -> None:
    """Stations with a site, a card, and transactions that have ended."""
    rig.import_network()
    async with told(rig.database) as story:
        story.now = NOW
        await story.boot()
        for _ in range(transactions):
            await story.tap()
            number = (await story.start()).transaction_id
            story.pass_time(minutes=10)
            await story.sample(number, 1500)
            await story.sample(number, 1700)
            story.pass_time(minutes=10)
            await story.end(number, 2_000_000)


async def test_stations_are_found_by_what_they_are(rig: Rig) -> None:  # P12
    rig.import_network()
    rig.say("CP1", vendor="Acme", model="X1", ocpp_version="1.6", connection_id="c1")
    rig.say("CP3", vendor="Acme", model="X2", ocpp_version="2.0.1")
    async with rig.client(Role.VIEWER) as client:

        async def found(**query: Any) -> list[str]:
            return [row["station_id"] for row in await items(client, "stations", **query)]

        assert await found() == ["CP1", "CP2", "CP3"]
        assert await found(city="Brugge") == ["CP3"]
        assert await found(location="gent") == ["CP1", "CP2"]
        assert await found(online=True) == ["CP1"]
        assert await found(admission="known", online=False) == ["CP2", "CP3"]
        assert await found(vendor="Acme") == ["CP1", "CP3"]
        assert await found(model="X2") == ["CP3"]
        assert await found(admission="pending") == []


@pytest.mark.parametrize("word", ["1.6J", "1.6j", "1.6", "OCPP1.6J"])
async def test_the_protocol_is_called_as_people_call_it(rig: Rig, word: str) -> None:  # J03
    rig.import_network()
    rig.say("CP1", ocpp_version="1.6")
    rig.say("CP3", ocpp_version="2.0.1")
    async with rig.client(Role.VIEWER) as client:
        [row] = await items(client, "stations", protocol=word)
        assert (row["station_id"], row["protocol"]) == ("CP1", "1.6J")
        [row] = await items(client, "stations", protocol="2.0.1")
        assert (row["station_id"], row["protocol"]) == ("CP3", "2.0.1")


async def test_a_station_is_told_with_all_that_belongs_to_it(rig: Rig) -> None:
    await charged(rig)
    async with rig.client(Role.VIEWER) as client:
        response = await client.get("/api/v1/stations/CP1")
    detail = response.json()
    assert (detail["station"]["vendor"], detail["station"]["protocol"]) == ("Acme", "1.6J")
    assert (detail["binding"], detail["bound"], detail["password"]) == ("strict", True, False)
    assert [boot["answer"] for boot in detail["boots"]] == ["accepted"]
    [evse] = detail["evses"]
    assert (evse["uid"], evse["city"], evse["connectors"][0]["max_amperage"]) == ("CP1-1", "Gent", 32)
    assert detail["quirks"] == ["odd-Acme"]
    assert "password_hash" not in response.text


async def test_a_station_is_adopted_refused_and_bound_anew(rig: Rig) -> None:
    rig.import_network()
    rig.say("CP1", admission="pending", fingerprint="serial:1|a|b")
    async with rig.client(Role.OPERATOR) as client:
        adopted = (await client.post("/api/v1/stations/CP1/adopt")).json()
        assert adopted["station"]["admission"] == "known"
        assert (await client.post("/api/v1/stations/CP1/rebind")).json()["bound"] is False
        assert (await client.post("/api/v1/stations/CP1/refuse")).json()["station"]["admission"] == "refused"
        problem(await client.post("/api/v1/stations/CP9/adopt"), 404, "unknown_station")
        policy = {"policy": "warn"}
        problem(await client.put("/api/v1/stations/CP1/binding", json=policy), 403, "not_allowed")
    async with rig.client(Role.ADMIN) as client:
        assert (await client.put("/api/v1/stations/CP1/binding", json=policy)).json()["binding"] == "warn"


async def test_sites_are_told_with_their_stations(rig: Rig) -> None:
    rig.import_network()
    async with rig.client(Role.VIEWER) as client:
        assert [row["location_id"] for row in await items(client, "locations")] == ["GENT", "BRUGGE"]
        [row] = await items(client, "locations", city="Gent")
        assert row["evses"] == 2
        detail = (await client.get(f"/api/v1/locations/{row['id']}")).json()
        assert detail["stations"] == ["CP1", "CP2"]
        problem(await client.get("/api/v1/locations/99999"), 404, "unknown_location")


async def test_transactions_are_paged_without_loss_while_new_ones_come(rig: Rig) -> None:
    await charged(rig, transactions=5)
    async with rig.client(Role.VIEWER) as client:
        rows = await items(client, "transactions")
        assert len({row["id"] for row in rows}) == 5
        assert [row["number"] for row in rows] == sorted((row["number"] for row in rows), reverse=True)
        assert await items(client, "transactions", state="active") == []
        assert len(await items(client, "transactions", station="CP1", state="ended")) == 5
        first = (await client.get("/api/v1/transactions?limit=2")).json()
        async with told(rig.database) as story:
            story.now = NOW
            story.pass_time(days=1)
            await story.start()
        second = (await client.get("/api/v1/transactions", params={"limit": 2, "after": first["next"]})).json()
        assert [row["id"] for row in first["items"] + second["items"]] == [row["id"] for row in rows[:4]]


async def test_a_transaction_is_told_with_its_samples(rig: Rig) -> None:
    await charged(rig)
    async with rig.client(Role.VIEWER) as client:
        [row] = await items(client, "transactions")
        assert (row["energy_mwh"], row["protocol"], row["id_token"]) == (1_000_000, "1.6J", MASKED)
        by_number = (await client.get(f"/api/v1/transactions/{row['number']}")).json()
        assert by_number["transaction"] == row
        assert by_number["started_rule"]
        samples = await items(client, f"transactions/{row['id']}/samples", limit=1)
        assert [sample["samples"][0]["values"][0]["value"] for sample in samples] == ["1500", "1700"]
        problem(await client.get("/api/v1/transactions/nobody"), 404, "unknown_transaction")


async def test_a_card_is_masked_for_who_may_only_look(rig: Rig) -> None:
    await charged(rig)
    for role, shown in ((Role.VIEWER, MASKED), (Role.OPERATOR, CARD), (Role.ADMIN, CARD)):
        async with rig.client(role) as client:
            for path, field in (("tokens", "uid"), ("authorizations", "id_token"), ("transactions", "id_token")):
                response = await client.get(f"/api/v1/{path}")
                assert {row[field] for row in response.json()["items"]} == {shown}, (role, path)
                assert (CARD in response.text) is (shown == CARD), (role, path)


async def test_decisions_are_found_by_card_station_and_day_also_as_a_table(rig: Rig) -> None:
    await charged(rig)
    async with rig.client(Role.OPERATOR) as client:
        rows = await items(client, "authorizations")
        assert {row["kind"] for row in rows} >= {"authorize", "start"}
        assert len(await items(client, "authorizations", tag=CARD.lower())) == len(rows)
        assert await items(client, "authorizations", tag="04FF") == []
        assert await items(client, "authorizations", station="CP2") == []
        assert len(await items(client, "authorizations", day=NOW.date().isoformat())) > 0
        assert await items(client, "authorizations", day="2001-01-01") == []
        assert await items(client, "authorizations", day="9999-12-31") == []
        table = await client.get("/api/v1/authorizations", headers={"Accept": "text/csv"})
        assert table.headers["content-type"].startswith("text/csv")
        told_rows = list(csv.DictReader(io.StringIO(table.text)))
        assert [row["id"] for row in told_rows] == [str(row["id"]) for row in rows]
        assert told_rows[0]["id_token"] == CARD


async def test_a_table_holds_no_formulas(rig: Rig) -> None:
    await charged(rig)
    async with told(rig.database) as story:
        await story.tap("=1+1")
    async with rig.client(Role.OPERATOR) as client:
        table = await client.get("/api/v1/authorizations?tag==1%2B1", headers={"Accept": "text/csv"})
    [row] = csv.DictReader(io.StringIO(table.text))
    assert row["id_token"] == "'=1+1"


async def test_money_is_text_and_never_a_float(rig: Rig) -> None:
    await charged(rig)
    with rig.database.read() as connection:
        transaction = connection.execute(Transaction.__table__.select()).one()
    for number, total in enumerate(("0.10", "12345678901234567890.12")):
        rig.insert(
            ChargeRecord,
            id=f"bill-{number}",
            country_code="BE",
            party_id="BEC",
            transaction_id=transaction.id,
            credit=number > 0,
            owner_id=0,
            currency="EUR",
            started_at=transaction.started_at,
            ended_at=transaction.ended_at,
            energy_mwh=1,
            duration_s=1,
            total_excl_vat=Decimal(total),
            total_incl_vat=Decimal(total),
            lines=[{"price": "0.25"}],
            periods=[],
            costs={},
            snapshot={},
            created_at=NOW,
        )
    async with rig.client(Role.VIEWER) as client:
        rows = await items(client, "charge-records", limit=1)
        assert [row["total_incl_vat"] for row in rows] == ["12345678901234567890.12", "0.10"]
        detail = (await client.get("/api/v1/charge-records/bill-0")).json()
        assert (detail["record"]["total_excl_vat"], detail["lines"]) == ("0.10", [{"price": "0.25"}])
        assert await items(client, "charge-records", owner=7) == []
        problem(await client.get("/api/v1/charge-records/none"), 404, "unknown_charge_record")


async def test_a_bill_is_explained_and_a_day_adds_up(rig: Rig) -> None:  # E11
    async with told(rig.database) as story:
        story.tariff()
        story.site("BILL")
        story.card()
        await story.boot("BILL")
        for card in (CARD, "UNKNOWN"):
            number = (await story.start(card, "BILL")).transaction_id
            story.pass_time(minutes=20)
            await story.sample(number, 1_500, "BILL")
            await story.end(number, 1_500_000, "BILL")
        Subscriber("billing", rig.database, bill, wake=Wake()).catch_up()
    async with rig.client(Role.VIEWER) as client:
        (row,) = await items(client, "charge-records")
        assert (row["corrects"], row["decided_by"]) == (None, None)
        address = f"/api/v1/charge-records/{row['id']}"
        assert (await client.get(address)).json()["signed_data"] is None
        it = (await client.get(f"{address}/explanation")).json()
        assert it["explanation"]["lines"][0]["why"] == "element 1 is the first that prices ENERGY and applied: always"
        assert it["explanation"]["periods"][1]["samples"][0]["register_kwh"] == "1.5"
        assert it["text"][0] == f"{row['id']}: a bill, of session {row['transaction_id']}"
        problem(await client.get("/api/v1/charge-records/none/explanation"), 404, "unknown_charge_record")
        day = (await client.get("/api/v1/reviews/balance?day=2026-06-01")).json()
        held = {"refused": 1, "refused_start": 1, "unknown_owner": 1}
        nothing = dict.fromkeys(("corrected", "credited", "written_off", "exempt", "unexplained"), 0)
        assert day == {"day": "2026-06-01", "closed": 2, "billed": 1, "in_review": 1, "held": held, **nothing}
        assert (await client.get("/api/v1/reviews/balance")).json()["closed"] == 0
        problem(await client.get("/api/v1/reviews/balance?day=9999-12-31"), 422, "out_of_range")
        problem(await client.get("/api/v1/reviews/balance?day=today"), 400, "bad_parameter")


async def test_alerts_are_told_open_and_closed(rig: Rig) -> None:
    with rig.database.write() as connection:
        for kind in ("a", "b", "c"):
            raise_alarms(connection, [Alarm(kind=kind, subject="CP1", station_id="CP1", detail={"n": 1})], NOW)
    async with rig.client(Role.VIEWER) as client:
        assert [row["kind"] for row in await items(client, "alerts")] == ["c", "b", "a"]
        assert [row["kind"] for row in await items(client, "alerts", kind="b", open=True)] == ["b"]
        assert await items(client, "alerts", open=False) == []


async def test_cards_are_added_described_anew_and_blocked(rig: Rig) -> None:  # J02
    async with rig.client(Role.OPERATOR) as client:
        added = await client.post("/api/v1/tokens", json={"uid": CARD, "fleet": True})
        assert added.status_code == 201
        token = added.json()
        assert (token["uid"], token["valid"], token["fleet"], token["issuer"]) == (CARD, True, True, "Operator")
        again = await client.post("/api/v1/tokens", json={"uid": CARD.lower(), "group_id": "G1"})
        assert (again.status_code, again.json()["id"], again.json()["group_id"]) == (200, token["id"], "G1")
        address = added.headers["location"]
        assert (await client.post(f"{address}/block")).json()["valid"] is False
        assert (await client.get(address)).json()["valid"] is False
        assert [row["id"] for row in await items(client, "tokens", uid=CARD.lower())] == [token["id"]]
        assert await items(client, "tokens", own=False) == []
        problem(await client.post("/api/v1/tokens/999/block"), 404, "unknown_token")
    async with rig.client(Role.VIEWER) as client:
        problem(await client.post("/api/v1/tokens", json={"uid": CARD}), 403, "not_allowed")


async def test_a_card_has_other_spellings_as_long_as_they_are_wanted(rig: Rig) -> None:  # D02, J02
    async with rig.client(Role.OPERATOR) as client:
        card = (await client.post("/api/v1/tokens", json={"uid": CARD})).headers["location"]
        other = (await client.post("/api/v1/tokens", json={"uid": "OTHERCARD"})).headers["location"]
        told = await client.post(f"{card}/aliases", json={"alias": "TURNED-ROUND"})
        assert (told.status_code, told.json()) == (201, {"items": ["TURNED-ROUND"]})
        assert (await client.post(f"{card}/aliases", json={"alias": "turned-round"})).status_code == 200
        problem(await client.post(f"{other}/aliases", json={"alias": "TURNED-ROUND"}), 409, "alias_taken")
        problem(await client.post(f"{other}/aliases", json={"alias": " "}), 409, "unprintable")
        problem(await client.post(f"{other}/aliases/remove", json={"alias": "TURNED-ROUND"}), 409, "no_alias")
        problem(await client.get("/api/v1/tokens/999/aliases"), 404, "unknown_token")
        async with rig.client(Role.VIEWER) as viewer:
            assert "TURNED-ROUND" not in (await viewer.get(f"{card}/aliases")).text
            problem(await viewer.post(f"{card}/aliases", json={"alias": "X"}), 403, "not_allowed")
        assert (await client.post(f"{card}/aliases/remove", json={"alias": "TURNED-ROUND"})).json() == {"items": []}


@pytest.mark.parametrize(
    "path",
    [
        "charging-profiles",
        "reservations",
        "local-lists",
        "firmware/images",
        "firmware/updates",
        "firmware/campaigns",
        "uploads",
        "certificates",
        "security-events",
        "reviews",
    ],
)
async def test_each_list_is_there_when_it_is_empty(rig: Rig, path: str) -> None:
    async with rig.client(Role.VIEWER) as client:
        assert await items(client, path) == []


async def test_clocks_drift_and_lists_are_told(rig: Rig) -> None:
    await charged(rig)
    async with rig.client(Role.OPERATOR) as client:
        clocks = (await client.get("/api/v1/clocks")).json()
        assert "Acme" in {row["vendor"] for row in clocks["items"]}
        assert (await client.get("/api/v1/drift")).json() == {"items": []}
        kept = await client.put("/api/v1/stations/CP1/local-list", json={"wanted": True})
        assert (kept.status_code, kept.json()["wanted"]) == (200, True)
        assert (await client.post("/api/v1/stations/CP1/local-list/push")).status_code == 202
        problem(await client.post("/api/v1/stations/CP2/local-list/push"), 404, "no_local_list")
        assert (await client.post("/api/v1/local-lists/enable-all")).json() == {"stations": 3}
        schedule = (await client.get("/api/v1/stations/CP1/schedule?evse=1&unit=A")).json()
        assert (schedule["unit"], schedule["limits"][0]["start_s"]) == ("A", 0)


# ---- what a viewer sees of cards, wherever a station or a person wrote them -----------------------------------------


async def test_a_card_in_a_setting_an_answer_or_an_alert_is_masked_too(rig: Rig) -> None:
    rig.import_network()
    told_at: dict[str, Any] = {"station_id": "CP1", "key": "FreevendIdTag"}
    rig.insert(ActualSetting, value=CARD, readonly=False, read_at=NOW, **told_at)
    wish: dict[str, Any] = {"wished_by": "cli:ann", "wished_at": NOW, "state": "ignored", "tries": 2}
    rig.insert(DesiredSetting, value=f"{CARD}5", **told_at, **wish)
    rig.insert(
        RemoteRequest,
        id="r1",
        kind="get_configuration",
        station_id="CP1",
        command={"type": "send_vendor_data", "vendor_id": "Acme", "data": f'{{"card": "{CARD}"}}'},
        state="failed",
        detail=f"no such card: idTag {CARD}",
        answer={"outcome": "accepted", "settings": [{"key": "FreevendIdTag", "value": CARD, "readonly": False}]},
        requested_by="cli:ann",
        created_at=NOW,
        deadline_at=NOW,
    )
    rig.insert(
        SecurityEvent,
        event_id="e1",
        station_id="CP1",
        kind="x",
        tech_info=f"refused {CARD}",
        critical=False,
        received_at=NOW,
    )
    with rig.database.write() as connection:
        detail = {"key": "FreevendIdTag", "desired": CARD, "actual": CARD}
        raise_alarms(connection, [Alarm(kind="setting_ignored", subject="CP1", station_id="CP1", detail=detail)], NOW)
    looks = (
        "stations/CP1",
        "stations/CP1/configuration",
        "drift",
        "commands",
        "commands/r1",
        "security-events",
        "alerts",
    )
    for path in looks:
        async with rig.client(Role.VIEWER) as client:
            seen = (await client.get(f"/api/v1/{path}")).text
        assert CARD not in seen, path
        async with rig.client(Role.OPERATOR) as client:
            assert CARD in (await client.get(f"/api/v1/{path}")).text, path


async def test_partners_are_told_with_their_health_and_no_token(rig: Rig) -> None:
    partners = Partners(rig.database, Vault("a secret key of the tests"), clock=lambda: NOW)
    terms = Terms(
        token="SECRET-OUT",
        versions_url="https://emsp.example/versions",
        version="2.2.1",
        roles=[{"role": "HUB", "country_code": "DE", "party_id": "HUB"}],
        endpoints=[{"identifier": "sessions", "role": "RECEIVER", "url": "https://emsp.example/sessions"}],
    )
    with rig.database.write() as connection:
        token_a = partners.invite(connection, "Acme", ("BE", "BEC"), NOW)
        partner = partners.named(connection, "Acme")
        partners.complete(connection, partner.id, expecting=token_a, token_in="SECRET-IN", terms=terms, now=NOW)
        told = {"partner_id": partner.id, "object_id": "S1", "created_at": NOW, "due_since": NOW - timedelta(minutes=2)}
        rows = [{"module": "sessions", "stopped": None}, {"module": "cdrs", "stopped": "refused: HTTP 200 OCPI 2001"}]
        for row in rows:
            connection.execute(insert(Delivery).values(**told, **row, last_error=row["stopped"]))
        keep(connection, partner.id, [client_from_ocpi(CLIENT_INFO, NOW)], NOW)
    health = Health(clock=lambda: NOW)
    for _ in range(5):
        health.heard(partner.id, "sessions", Reply(delivery=Answer.UNREACHABLE, at=NOW))
    health.keep(rig.database)
    async with rig.client(Role.VIEWER) as client:
        listed = await client.get("/api/v1/partners")
        (row,) = listed.json()["items"]
        assert (row["name"], row["state"], row["parties"]) == ("Acme", "registered", ["DE-HUB HUB"])
        assert (row["waiting"], row["given_up"], row["lag_s"], row["circuit"]) == (1, 1, 120.0, "open")
        detail = await client.get("/api/v1/partners/Acme")
        assert detail.json()["endpoints"][0]["module"] == "sessions"
        assert [(one["party"], one["status"]) for one in detail.json()["hub_clients"]] == [("NL-ALL", "PLANNED")]
        found = await client.get("/api/v1/partners/Acme/health")
        (module,) = found.json()["modules"]
        assert (module["module"], module["failures"], module["circuit"]) == ("sessions", 5, "open")
        (trouble,) = found.json()["undelivered"]
        assert (trouble["module"], trouble["next_attempt_at"]) == ("cdrs", None)
        problem(await client.get("/api/v1/partners/Other/health"), 404, "unknown_partner")
    assert "SECRET" not in listed.text + detail.text + found.text
