import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson
import pytest
import structlog

from adapters.datatypes import moment
from adapters.rendered import encode
from ocpi_bridge.emsp_client import Delivery, EmspClient, Peer, PullFailed, Reply
from ocpi_bridge.emsp_simulator import Allow, Authorization, EmspSimulator, Fault
from ocpi_bridge.emsp_wire import delivery, join, next_page
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from tests.listening import listening

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
OWNER = {"country_code": "BE", "party_id": "BEC"}
CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "last_updated": NOW,
}
EVSE = {"uid": "DE*ABC*E1", "status": "AVAILABLE", "connectors": [CONNECTOR], "last_updated": NOW}
LOCATION = OWNER | {
    "id": "LOC 1/a",
    "publish": True,
    "address": "F.Rooseveltlaan 3A",
    "city": "Gent",
    "country": "BEL",
    "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
    "time_zone": "Europe/Brussels",
    "evses": [EVSE],
    "last_updated": NOW,
}
CDR_TOKEN = {"country_code": "NL", "party_id": "MSP", "uid": "04%A1", "type": "RFID", "contract_id": "NL-MSP-C1"}
PERIOD = {"start_date_time": NOW, "dimensions": [{"type": "ENERGY", "volume": Decimal("1.10")}]}
SESSION = OWNER | {
    "id": "S1",
    "start_date_time": NOW,
    "kwh": Decimal("1.10"),
    "cdr_token": CDR_TOKEN,
    "auth_method": "WHITELIST",
    "location_id": "LOC1",
    "evse_uid": "DE*ABC*E1",
    "connector_id": "1",
    "currency": "EUR",
    "charging_periods": [PERIOD],
    "status": "ACTIVE",
    "last_updated": NOW,
}
TARIFF = OWNER | {
    "id": "AC",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": Decimal("0.2500"), "step_size": 1}]}],
    "last_updated": NOW,
}
CDR = OWNER | {
    "id": "C1",
    "start_date_time": NOW,
    "end_date_time": LATER,
    "cdr_token": CDR_TOKEN,
    "auth_method": "WHITELIST",
    "cdr_location": {
        "id": "LOC1",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "country": "BEL",
        "coordinates": LOCATION["coordinates"],
        "evse_uid": "E1",
        "evse_id": "BE*BEC*E1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "CABLE",
        "connector_power_type": "AC_3_PHASE",
    },
    "currency": "EUR",
    "charging_periods": [PERIOD],
    "total_cost": {"excl_vat": Decimal("0.10"), "incl_vat": Decimal("0.1210")},
    "total_energy": Decimal("1.1"),
    "total_time": 0,
    "last_updated": LATER,
}


@asynccontextmanager
async def partner(timeout_s: float = 5.0, **options: Any) -> AsyncIterator[tuple[EmspSimulator, EmspClient, Peer]]:
    """A strict eMSP that trusts us, and us towards it."""
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), timeout_s=timeout_s, max_bytes=2**20)
    async with EmspSimulator(strict=True, **options) as emsp:
        emsp.trust("our-token", ("BE", "BEC"))
        client = EmspClient(guarded, clock=lambda: NOW, retry_wait_s=0.01)
        peer = Peer(
            name="msp",
            token="our-token",
            our_party=("BE", "BEC"),
            their_party=("NL", "MSP"),
            endpoints=emsp.endpoints,
        )
        try:
            yield emsp, client, peer
        finally:
            await guarded.aclose()


async def pages(client: EmspClient, peer: Peer, date_from: datetime | None = None) -> list[str]:
    return [token["uid"] async for page in client.get_tokens(peer, date_from) for token in page]


# ---- over the wire ---------------------------------------------------------------------------------------------------


async def test_strict_partner_finds_nothing_wrong_with_our_pushes() -> None:  # TR-02, TR-11, ID-01, RT-01, PU-01
    async with partner() as (emsp, client, peer):
        location_id = str(LOCATION["id"])
        replies = [
            await client.put_tariff(peer, TARIFF),
            await client.put_location(peer, LOCATION),
            await client.patch_location(
                peer, (location_id, "DE*ABC*E1"), {"status": "CHARGING", "last_updated": LATER}
            ),
            await client.put_session(peer, SESSION),
            await client.patch_session(peer, "S1", {"kwh": Decimal("2.0"), "last_updated": LATER}),
            await client.post_cdr(peer, CDR),
            await client.delete_tariff(peer, "AC"),
        ]
        assert list(map(str, emsp.complaints)) == []
        assert [reply.delivery for reply in replies] == [Delivery.CONFIRMED] * 7
        assert replies[5].location == f"{emsp.endpoints[('cdrs', 'RECEIVER')]}/C1"
        assert all(reply.at == NOW for reply in replies)
        evses = {evse["uid"]: evse["status"] for evse in emsp.locations[location_id]["evses"]}
        assert evses == {"DE*ABC*E1": "CHARGING"}
        assert len({request.headers["x-request-id"] for request in emsp.requests}) == 7


async def test_money_crosses_the_wire_digit_by_digit() -> None:  # TY-08
    async with partner() as (emsp, client, peer):
        await client.post_cdr(peer, CDR)
        raw = emsp.requests[0].raw
        assert b'"excl_vat":0.10,"incl_vat":0.1210' in raw
        assert b'"last_updated":"2026-03-01T10:05:00Z"' in raw
        assert emsp.cdrs[0]["total_cost"] == CDR["total_cost"]


async def test_ids_reach_the_partner_as_they_are_whatever_they_hold() -> None:  # TR-36, XT-08
    async with partner() as (emsp, client, peer):
        for identity in ("DE*ABC*1", "a/b", "50%", "a b?c#d", ".", "..", "%2F", "x;y=z", "a:b@c"):
            reply = await client.put_tariff(peer, TARIFF | {"id": identity})
            assert (reply.http_status, emsp.tariffs[identity]["id"]) == (201, identity)
        assert emsp.complaints == []


async def test_routing_headers_are_on_functional_modules_only() -> None:  # RT-01, RT-02, RT-04
    async with partner() as (emsp, client, peer):
        emsp.registered = False
        versions = await client.get_versions(emsp.versions_url, "our-token")
        details = await client.get_version_details(versions.data[0]["url"], "our-token")
        assert (versions.ok, details.data["version"]) == (True, "2.2.1")
        own = {"token": "t", "url": emsp.versions_url, "roles": []}
        assert (
            await client.put_credentials(peer.endpoints["credentials", "SENDER"], "our-token", own)
        ).http_status == 405
        assert (
            await client.delete_credentials(peer.endpoints["credentials", "SENDER"], "our-token")
        ).http_status == 405
        await client.put_tariff(peer, TARIFF)
        *configuration, push = emsp.requests
        assert not any(name.startswith("ocpi-") for request in configuration for name in request.headers)
        routing = {name: value for name, value in push.headers.items() if name.startswith("ocpi-")}
        assert routing == {
            "ocpi-from-country-code": "BE",
            "ocpi-from-party-id": "BEC",
            "ocpi-to-country-code": "NL",
            "ocpi-to-party-id": "MSP",
        }


async def test_registration_with_a_partner_through_the_client() -> None:  # CR-20 to CR-24
    async with partner() as (emsp, client, _), EmspSimulator(party=("BE", "BEC")) as own_side:
        emsp.forget_cpo()
        token_a, token_b = emsp.invite(), own_side.new_inbound_token()
        own_side.inbound.add(token_b)  # stands in for our own versions endpoint, which the partner reads meanwhile
        own = own_side.credentials(token_b)
        reply = await client.post_credentials(emsp.endpoints["credentials", "SENDER"], token_a, own)
        assert reply.ok
        assert reply.data["token"] in emsp.inbound
        assert (await client.get_versions(emsp.versions_url, token_a)).delivery is Delivery.UNSURE  # 401: not judged


async def test_token_is_base64_unless_the_partner_wants_it_raw() -> None:  # TR-03, TR-05
    async with partner() as (emsp, client, peer):
        await client.put_tariff(peer, TARIFF)
        await client.put_tariff(replace(peer, send_raw_token=True, version="2.1.1"), TARIFF)
        first, second = (request.headers for request in emsp.requests)
        assert first["authorization"] == f"Token {base64.b64encode(b'our-token').decode()}"
        assert second["authorization"] == "Token our-token"
        assert not any(name.startswith("ocpi-") for name in second)  # 2.1.1 knows none


async def test_missing_endpoint_is_told_and_nothing_is_sent() -> None:  # PU-16
    async with partner() as (emsp, client, peer):
        bare = replace(peer, endpoints={})
        assert not bare.offers("sessions")
        reply = await client.put_session(bare, SESSION)
        assert (reply.delivery, reply.status_message) == (
            Delivery.UNREACHABLE,
            "msp lists no sessions RECEIVER endpoint",
        )
        assert (await client.authorize(bare, "U", "RFID", None, 1)).delivery is Delivery.UNREACHABLE
        with pytest.raises(PullFailed):
            await pages(client, bare)
        assert emsp.requests == []


# ---- authorize and results -------------------------------------------------------------------------------------------


async def test_authorize_asks_with_type_and_place_and_brings_the_answer() -> None:  # TK-36 to TK-41
    where = {"location_id": "LOC1", "evse_uids": ["E1"]}
    async with partner() as (emsp, client, peer):
        emsp.issue_token("04%A1", type="APP_USER")
        emsp.authorization = Authorization(reference="R1")
        reply = await client.authorize(peer, "04%A1", "APP_USER", where, timeout_s=5)
        assert (reply.ok, reply.data["allowed"], reply.data["authorization_reference"]) == (True, "ALLOWED", "R1")
        assert emsp.complaints == []
        emsp.authorization = Authorization(allowed=Allow.BLOCKED)
        reply = await client.authorize(peer, "04%A1", "APP_USER", where, timeout_s=5)
        assert (reply.ok, reply.data["allowed"]) == (True, "BLOCKED")
        reply = await client.authorize(peer, "04%A1", "RFID", where, timeout_s=5)
        assert (reply.delivery, reply.http_status, reply.status_code) == (Delivery.NOT_FOUND, 404, 2004)  # TR-30
        emsp.authorization = Authorization(allowed=Allow.HANG)
        reply = await client.authorize(peer, "04%A1", "APP_USER", where, timeout_s=0.1)  # TK-42
        assert (reply.delivery, reply.http_status, reply.status_code) == (Delivery.UNSURE, None, None)


async def test_command_result_goes_to_the_given_url_unchanged() -> None:  # CM-07, RT-13
    async with partner() as (emsp, client, peer):
        emsp.commands["u1"] = "ACCEPTED"
        url = f"{emsp.base_url}/2.2.1/commands/START_SESSION/u1?a=b&c=%2F"
        assert (await client.post_result(peer, url, {"result": "TIMEOUT"})).ok
        assert (emsp.requests[0].query, emsp.command_results) == ("a=b&c=%2F", {"u1": {"result": "TIMEOUT"}})
        assert emsp.complaints == []


async def test_response_url_at_a_private_address_is_refused() -> None:  # TR-35
    async with partner() as (_, client, peer):
        for url in ("http://10.0.0.1/result", "https://[::1]/", "https://169.254.169.254/", "nonsense"):
            reply = await client.post_result(peer, url, {"result": "ACCEPTED"})
            assert reply.delivery is Delivery.UNREACHABLE
            assert reply.status_message.endswith(".")


# ---- pull ------------------------------------------------------------------------------------------------------------


async def test_tokens_are_pulled_along_the_links_to_the_end() -> None:  # PG-12, TK-20
    async with partner(page_limit=2) as (emsp, client, peer):
        for number in range(5):
            emsp.issue_token(f"T{number}", last_updated=f"2026-03-0{number + 1}T00:00:00Z")
        assert await pages(client, peer) == ["T0", "T1", "T2", "T3", "T4"]
        assert await pages(client, peer, datetime(2026, 3, 4, 1, tzinfo=timezone(timedelta(hours=2)))) == ["T3", "T4"]
        assert emsp.requests[-1].query == "date_from=2026-03-03T23%3A00%3A00Z"
        assert len({request.headers["x-correlation-id"] for request in emsp.requests}) == 2
        assert emsp.complaints == []


async def test_a_page_is_asked_for_again_when_the_answer_is_in_doubt() -> None:  # PU-12, TR-37
    async with partner() as (emsp, client, peer):
        emsp.issue_token("T0")
        for fault in (Fault.ERROR_500, Fault.ERROR_429):
            emsp.fault("tokens", fault)
        assert await pages(client, peer) == ["T0"]
        assert len(emsp.requests) == 3
        emsp.fault("tokens", Fault.ERROR_3000, times=None)
        with pytest.raises(PullFailed) as failed:
            await pages(client, peer)
        assert (failed.value.reply.status_code, len(emsp.requests)) == (3000, 6)


async def test_a_refusal_is_not_asked_again() -> None:
    async with partner() as (emsp, client, peer):
        emsp.fault("tokens", Fault.ERROR_2001, times=None)
        with pytest.raises(PullFailed):
            await pages(client, peer)
        assert len(emsp.requests) == 1


@asynccontextmanager
async def serving_pages(*bodies: tuple[str, bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A partner of fixed pages, by their path; each is a Link header (or nothing) and a body."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        number = int(heads[-1].split()[1].rpartition(b"/")[2] or 0)
        link, body = bodies[number]
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{link}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}/tokens/0", heads


def page(*entries: Any) -> bytes:
    return orjson.dumps({"status_code": 1000, "timestamp": "2026-03-01T10:00:00Z", "data": list(entries)})


async def test_links_that_lead_in_circles_end_in_a_failure() -> None:  # PG-12
    served = serving_pages(
        ('Link: </tokens/1>; rel="next"\r\n', page({"uid": "A"})), ('Link: </tokens/0>; rel="next"\r\n', page())
    )
    async with partner() as (_, client, peer), served as (url, heads):
        with pytest.raises(PullFailed, match="do not end"):
            await pages(client, replace(peer, endpoints={("tokens", "SENDER"): url}))
    assert len(heads) == 2


async def test_good_entries_of_a_page_are_taken_although_others_are_bad() -> None:  # TY-18, PG-07
    served = serving_pages(("Link: \r\n", page({"uid": "A"}, None, "B", {"uid": "C"})))
    async with partner() as (_, client, peer), served as (url, _):
        assert await pages(client, replace(peer, endpoints={("tokens", "SENDER"): url})) == ["A", "C"]


# ---- a partner that misbehaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.HANG, Delivery.UNSURE),
        (Fault.DRIP, Delivery.UNSURE),
        (Fault.HUGE, Delivery.UNSURE),
        (Fault.DISCONNECT, Delivery.UNSURE),
        (Fault.LOST_ANSWER, Delivery.UNSURE),
        (Fault.GARBAGE, Delivery.UNSURE),
        (Fault.REDIRECT, Delivery.UNSURE),
        (Fault.ERROR_500, Delivery.UNSURE),
        (Fault.ERROR_401, Delivery.UNSURE),
        (Fault.ERROR_429, Delivery.UNSURE),
        (Fault.ERROR_3000, Delivery.UNSURE),
        (Fault.ERROR_2001, Delivery.REFUSED),
        (Fault.ERROR_404, Delivery.NOT_FOUND),
        (Fault.MISSING_LOCATION_HEADER, Delivery.CONFIRMED),
    ],
)
async def test_misbehaviour_is_sorted_by_what_it_means_for_the_object(fault: Fault, expected: Delivery) -> None:
    async with partner(timeout_s=0.5) as (emsp, client, peer):  # XT-05, CD-04
        emsp.fault("cdrs", fault)
        reply = await client.post_cdr(peer, CDR)
        assert (reply.delivery, reply.ok) == (expected, expected is Delivery.CONFIRMED)
        assert [request.path for request in emsp.requests] == ["/2.2.1/cdrs"]  # neither retried nor redirected
        if expected is Delivery.CONFIRMED:
            assert reply.location is None


async def test_nobody_there_is_unreachable() -> None:
    async with partner() as (emsp, _, peer):
        pass
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), timeout_s=2)
    reply = await EmspClient(guarded, clock=lambda: NOW).put_tariff(peer, TARIFF)
    await guarded.aclose()
    assert (reply.delivery, reply.http_status) == (Delivery.UNREACHABLE, None)
    assert emsp.requests == []


async def test_logs_hold_neither_tokens_nor_ids() -> None:
    with structlog.testing.capture_logs() as logs:
        async with partner() as (_, client, peer):
            await client.authorize(peer, "SECRETUID", "RFID", {"location_id": "LOC1"}, timeout_s=5)
            await client.put_session(peer, SESSION)
            assert "our-token" not in repr(peer)
    assert [entry["delivery"] for entry in logs if entry["event"] == "partner_called"][:1] == ["not_found"]
    assert not any(
        secret in repr(logs) for secret in ("our-token", "SECRETUID", base64.b64encode(b"our-token").decode())
    )


# ---- pure ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http", "code", "expected"),
    [
        (200, 1000, Delivery.CONFIRMED),
        (201, 1000, Delivery.CONFIRMED),
        (200, 1999, Delivery.CONFIRMED),
        (200, 2000, Delivery.REFUSED),
        (200, 2001, Delivery.REFUSED),
        (400, 2001, Delivery.REFUSED),
        (500, 2001, Delivery.REFUSED),
        (200, 2003, Delivery.NOT_FOUND),
        (200, 2004, Delivery.NOT_FOUND),
        (404, 2001, Delivery.NOT_FOUND),
        (404, None, Delivery.NOT_FOUND),
        (200, 3000, Delivery.UNSURE),
        (200, 3001, Delivery.UNSURE),
        (500, None, Delivery.UNSURE),
        (500, 1000, Delivery.UNSURE),
        (502, None, Delivery.UNSURE),
        (200, None, Delivery.UNSURE),
        (302, None, Delivery.UNSURE),
        (401, 2001, Delivery.UNSURE),
        (429, None, Delivery.UNSURE),
        (400, None, Delivery.REFUSED),
        (413, None, Delivery.REFUSED),
        (422, None, Delivery.REFUSED),
        (200, 4001, Delivery.HUB),
        (200, 4002, Delivery.HUB),
        (200, 4003, Delivery.HUB),
        (200, 4000, Delivery.UNSURE),
    ],
)
def test_delivery_table(http: int, code: int | None, expected: Delivery) -> None:  # ER-03, TR-30, PU-17, RT-14
    assert delivery(http, code) is expected


def test_join_puts_exactly_one_slash() -> None:  # TR-32
    assert join("https://e/tokens", "a", "authorize", query="type=RFID") == "https://e/tokens/a/authorize?type=RFID"
    assert join("https://e/tokens/", "a") == "https://e/tokens/a"
    assert join("https://e/cdrs/") == "https://e/cdrs/"  # nothing to join: as the partner wrote it
    assert join("https://e/tokens?key=1", "a", query="type=RFID") == "https://e/tokens/a?key=1&type=RFID"
    assert join("https://e/x", "BE*1", "..", "a/b") == "https://e/x/BE%2A1/%2E%2E/a%2Fb"


def test_next_page_reads_the_link_header() -> None:  # PG-07, PG-12
    url = "https://e/tokens"
    assert next_page(url, {}) is None
    assert next_page(url, {"link": ""}) is None
    assert next_page(url, {"link": '<https://e/tokens?offset=1>; rel="prev"'}) is None
    assert (
        next_page(url, {"link": '<https://e/tokens?a=1,2&offset=2>; rel="next"'}) == "https://e/tokens?a=1,2&offset=2"
    )
    assert (
        next_page(url, {"link": '<https://e/p>; rel="prev", </tokens?offset=4>; rel=next'})
        == "https://e/tokens?offset=4"
    )
    assert next_page(url, {"link": '<https://e/p>; title="next"; REL = "Next last"'}) == "https://e/p"
    assert next_page(url, {"link": "<https://e/p>; rel=nextish"}) is None


@pytest.mark.parametrize("link", ["<" * 100_000, "<a>" + " rel=" * 20_000, "<a>;rel=" + " " * 100_000], ids=str.__len__)
def test_a_link_header_of_any_size_is_read_at_once(link: str) -> None:  # XT-05: it would hold up everybody
    began = time.process_time()
    assert next_page("https://e/tokens", {"link": link}) is None
    assert time.process_time() - began < 0.5


class Colour(StrEnum):
    RED = "RED"


def test_encode_writes_what_a_strict_reader_wants() -> None:  # TY-01, TY-08
    assert encode({"a": Decimal("1E+3"), "b": Decimal("0.10"), "c": Decimal("-0"), "d": Colour.RED}) == (
        b'{"a":1000,"b":0.10,"c":-0,"d":"RED"}'
    )
    brussels = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert encode([brussels, NOW]) == b'["2026-07-01T10:00:00.123Z","2026-03-01T10:00:00Z"]'
    assert len(moment(brussels)) <= 25
    for wrong in (Decimal("NaN"), NOW.replace(tzinfo=None), object()):
        with pytest.raises(TypeError):
            encode(wrong)


def test_reply_is_ok_only_when_confirmed() -> None:
    assert [Reply(delivery=each, at=NOW).ok for each in Delivery] == [True, False, False, False, False, False]
