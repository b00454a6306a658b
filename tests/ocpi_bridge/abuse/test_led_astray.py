"""Whatever address a partner gives us, nobody inside our network hears from us: not by its credentials, its endpoints, its
next links, its redirects, where its results are wanted, nor by a name that changes its mind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from crud.models import Delivery
from ocpi_bridge.emsp_client import EmspClient, Peer, PullFailed
from ocpi_bridge.emsp_wire import Delivery as Answer
from ocpi_bridge.outbound import Guarded, OutboundPolicy
from tests.listening import listening
from tests.ocpi_bridge.abuse.rig import Rig, abused
from tests.ocpi_bridge.our_door import odd_partner
from tests.ocpi_bridge.roaming_world import until

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ROLES = [{"role": "EMSP", "country_code": "AT", "party_id": "EVI", "business_details": {"name": "evil"}}]
EVIL: dict[str, Any] = {"name": "evil", "token": "out", "our_party": ("BE", "BEC"), "their_party": ("AT", "EVI")}
MODULES = {
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "cdrs": "RECEIVER",
    "tariffs": "RECEIVER",
    "tokens": "SENDER",
}


class Inside:
    """Somebody inside our network, at an address that OUTBOUND_ALLOW does not name."""

    def __init__(self) -> None:
        self.callers = 0
        self.url = ""


@pytest.fixture
async def inside() -> AsyncIterator[Inside]:
    inside = Inside()

    async def called(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        inside.callers += 1

    async with listening(called, "127.0.0.2") as port:
        inside.url = f"http://127.0.0.2:{port}"
        yield inside
    assert inside.callers == 0


@pytest.fixture
async def careful(cli: Callable[..., Any], environment: Callable[..., None]) -> AsyncIterator[Rig]:
    async with abused(environment, OUTBOUND_ALLOW="127.0.0.1/32") as rig:
        yield rig


async def register(rig: Rig, url: str) -> int:
    """The OCPI code of its POST credentials with token A."""
    async with rig.client("a") as client:
        answer = await client.post("/cpo/2.2.1/credentials", json={"token": "out", "url": url, "roles": ROLES})
    return int(answer.json()["status_code"])


def evil(endpoints: str, **more: Any) -> Mapping[str, Any]:
    """Versions and details whose endpoints are all at `endpoints`, `more` answers beside them."""
    listed = [{"identifier": name, "role": role, "url": f"{endpoints}/{name}"} for name, role in MODULES.items()]
    listed.append({"identifier": "credentials", "role": "SENDER", "url": f"{endpoints}/credentials"})
    return {
        "/versions": [{"version": "2.2.1", "url": "{base}/2.2.1"}],
        "/2.2.1": {"version": "2.2.1", "endpoints": listed},
        **{f"/{name}": value for name, value in more.items()},
    }


@only_sqlite
async def test_credentials_and_version_urls_that_lead_inside_are_3001(careful: Rig, inside: Inside) -> None:  # TR-35
    assert await register(careful, inside.url) == 3001
    versions = [{"version": "2.2.1", "url": f"{inside.url}/2.2.1"}]
    async with odd_partner({"/versions": versions}) as base:
        assert await register(careful, f"{base}/versions") == 3001
    for url in ("http://localhost/v", "http://2130706433/v", "http://[::ffff:127.0.0.2]/v", "http://a@127.0.0.1/v"):
        assert await register(careful, url) in (2001, 3001), url
    await careful.is_well()


@only_sqlite
async def test_endpoints_that_lead_inside_are_never_pushed_to_nor_pulled_from(careful: Rig, inside: Inside) -> None:
    async with odd_partner(evil(inside.url)) as base:  # TR-35
        assert await register(careful, f"{base}/versions") == 1000

        def failed() -> Any:
            with careful.service.database.read() as connection:
                query = select(Delivery.last_error).where(Delivery.last_error.is_not(None))
                return connection.execute(query).scalars().all()

        assert all("OUTBOUND_ALLOW" in why for why in await until(failed))
    await careful.is_well()


@only_sqlite
async def test_a_result_wanted_inside_is_not_promised(careful: Rig, inside: Inside) -> None:  # TR-35, CM-07
    asked = {"response_url": f"{inside.url}/r", "session_id": "session-of-one"}
    async with careful.client("one") as client:
        stop = await client.post("/cpo/2.2.1/commands/STOP_SESSION", json=asked)
        profile = await client.get(
            f"/cpo/2.2.1/chargingprofiles/session-of-one?duration=60&response_url={inside.url}/r"
        )
    assert [stop.json()["status_code"], profile.json()["status_code"]] == [2001, 2001]


@contextlib.asynccontextmanager
async def answering(head: bytes) -> AsyncIterator[str]:
    """A partner that gives every request this answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            await writer.drain()

    async with listening(answer) as port:
        yield f"http://127.0.0.1:{port}"


def page(*headers: str, status: str = "200 OK") -> bytes:
    body = b'{"data":[],"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"])
    return head.encode() + b"\r\n\r\n" + body


ASTRAY = {
    "a next link": (lambda url: page(f'Link: <{url}/tokens?offset=1>; rel="next"'), "OUTBOUND_ALLOW"),
    "a redirect": (lambda url: page(f"Location: {url}/tokens", status="307 Temporary Redirect"), None),
}


@pytest.mark.parametrize("way", ASTRAY)
async def test_a_list_leads_nobody_inside(inside: Inside, way: str) -> None:  # TR-35, PG-12, XT-05
    made, why = ASTRAY[way]
    guarded = Guarded(OutboundPolicy(["127.0.0.1/32"]), timeout_s=5.0)
    client = EmspClient(guarded, clock=lambda: datetime.now(UTC), retry_wait_s=0.01)
    try:
        async with answering(made(inside.url)) as base:
            peer = Peer(**EVIL, endpoints={("tokens", "SENDER"): f"{base}/tokens"})
            with pytest.raises(PullFailed, match=why):
                async for _ in client.get_tokens(peer):
                    pass
    finally:
        await guarded.aclose()


async def test_a_name_that_turns_inside_after_it_was_checked_is_not_called(inside: Inside) -> None:  # TR-35
    """A response_url is checked when a command comes and called when its result is there: its name may be another's then."""
    addresses = iter([["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1", "127.0.0.2"]])

    async def resolve(_host: str, _port: int) -> list[str]:
        return next(addresses)

    guarded = Guarded(OutboundPolicy(["127.0.0.1/32"]), timeout_s=5.0, resolve=resolve)
    client = EmspClient(guarded, clock=lambda: datetime.now(UTC))
    url = inside.url.replace("127.0.0.2", "emsp.example")
    try:
        await guarded.check(url)
        for _ in range(2):
            reply = await client.post_result(Peer(**EVIL, endpoints={}), url, {"result": "ACCEPTED"})
            assert reply.delivery is Answer.UNREACHABLE
            assert "not on the public internet" in reply.status_message
    finally:
        await guarded.aclose()
