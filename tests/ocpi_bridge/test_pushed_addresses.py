"""Objects go to the addresses that a partner named, under the party they belong to, and any answer's data will do."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocpi_bridge.emsp_client import EmspClient, Peer
from ocpi_bridge.emsp_wire import Delivery, delivery
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from tests.ocpi_bridge.our_door import served

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
MODULES = ("locations", "sessions", "tariffs", "cdrs")
ABSENT = object()


class OddPartner:
    """Its endpoints lie where nobody would guess; it answers every push with `data`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, Any]] = []
        self.data: Any = ABSENT

    async def answer(self, request: Request) -> Response:
        self.heard.append((request.method, request.url.path, orjson.loads(await request.body())))
        envelope = {"status_code": 1000, "timestamp": "2026-03-01T10:00:00Z"}
        body = envelope if self.data is ABSENT else {**envelope, "data": self.data}
        return Response(orjson.dumps(body), media_type="application/json")


@asynccontextmanager
async def odd_partner(our_party: tuple[str, str]) -> AsyncIterator[tuple[OddPartner, EmspClient, Peer]]:
    partner, listener = OddPartner(), socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    peer = Peer(
        name="odd",
        token="our-token",
        our_party=our_party,
        their_party=("NL", "ODD"),
        endpoints={(name, "RECEIVER"): f"{base}/x/{number}-{name[::-1]}" for number, name in enumerate(MODULES)},
    )
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), timeout_s=5)
    app = Starlette(routes=[Route("/{path:path}", partner.answer, methods=["PUT", "PATCH", "POST"])])
    async with served(app, listener):
        yield partner, EmspClient(guarded, clock=lambda: NOW), peer
    await guarded.aclose()


@pytest.mark.parametrize("party", [("BE", "BEC"), ("DE", "XYZ")])
async def test_each_object_goes_to_the_named_endpoint_under_its_own_party(  # TR-33, PU-02, LO-06, TA-02, SE-03, SE-04
    party: tuple[str, str],
) -> None:
    owner = {"country_code": party[0], "party_id": party[1]}
    async with odd_partner(party) as (partner, client, peer):
        await client.put_location(peer, {**owner, "id": "LOC1", "last_updated": NOW})
        await client.put_tariff(peer, {**owner, "id": "AC", "last_updated": NOW})
        await client.put_session(peer, {**owner, "id": "S1", "last_updated": NOW})
        await client.patch_session(peer, "S1", {"kwh": 1, "last_updated": NOW})
        await client.post_cdr(peer, {**owner, "id": "C1", "last_updated": NOW})
    path = "/".join(party)
    assert [(method, at) for method, at, _ in partner.heard] == [
        ("PUT", f"/x/0-snoitacol/{path}/LOC1"),
        ("PUT", f"/x/2-sffirat/{path}/AC"),
        ("PUT", f"/x/1-snoisses/{path}/S1"),
        ("PATCH", f"/x/1-snoisses/{path}/S1"),
        ("POST", "/x/3-srdc"),
    ]
    whole = [body for method, _, body in partner.heard if method != "PATCH"]
    assert {(body["country_code"], body["party_id"]) for body in whole} == {party}


@pytest.mark.parametrize(
    "data",
    [ABSENT, None, {}, [], "", "accepted", 0, {"id": "S1"}],
    ids=["absent", "null", "object", "list", "empty", "text", "number", "the_object"],
)
async def test_whatever_stands_in_data_a_push_that_succeeded_is_confirmed(data: Any) -> None:  # TR-17
    async with odd_partner(("BE", "BEC")) as (partner, client, peer):
        partner.data = data
        session = {"country_code": "BE", "party_id": "BEC", "id": "S1", "last_updated": NOW}
        assert (await client.put_session(peer, session)).delivery is Delivery.CONFIRMED


@pytest.mark.parametrize("code", [4000, 4001, 4002, 4003])
def test_what_a_hub_says_of_a_push_is_neither_success_nor_a_refusal_of_the_object(code: int) -> None:  # TR-28
    assert delivery(200, code) in (Delivery.HUB, Delivery.UNSURE)
