"""What we say to an eMSP over OCPI 2.2.1 or 2.1.1: each call brings one Reply, and none of them harms us."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import stamina
import structlog

from adapters import v211
from adapters.datatypes import moment
from adapters.rendered import encode
from ocpi_bridge.emsp_wire import Delivery, Reply, earlier, join, next_page, read, total_count
from ocpi_bridge.outbound import Guarded, Refused, Unanswered, Unreachable

__all__ = ["Delivery", "EmspClient", "Peer", "PullFailed", "Reply"]

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
Party = tuple[str, str]  # country_code, party_id

MAX_PAGES = 20_000
IN_ADDRESS_ONLY = ("country_code", "party_id")  # in 2.1.1 (V1-04)
ANSWER_BYTES = 2**20  # of anything but a list: whatever is read is read while everybody waits


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A partner as we call it. `token` is the one it issued to us; `endpoints` its version details by (module, role).

    `our_party` and `their_party` go into the routing headers; `our_party` also owns the objects of PATCH and DELETE.
    `their_party` None is an open request: the hub finds who is meant (RT-09). `partner_id`: our row of it.
    """

    name: str
    token: str = field(repr=False)
    send_raw_token: bool = False
    version: str = "2.2.1"
    our_party: Party
    their_party: Party | None
    endpoints: Mapping[tuple[str, str], str]
    partner_id: int | None = None

    def offers(self, module: str, role: str = "RECEIVER") -> bool:
        return (module, role) in self.endpoints


class PullFailed(Exception):
    """A list could not be read to its end; `reply` is the answer that broke it off. What came before is incomplete, and
    goes on at `url`, where that is known."""

    def __init__(self, reason: str, reply: Reply, url: str | None = None) -> None:
        super().__init__(reason)
        self.reply = reply
        self.url = url


Heard = Callable[[int, str, Reply], None]  # partner id, module, what it answered


class EmspClient:
    """Requests to partners. No method raises for the partner's sake except those that read lists; none logs a token or an
    id. `heard` is called on the loop with each answer of a registered partner's module, and with the lack of one."""

    def __init__(
        self,
        guarded: Guarded,
        *,
        clock: Callable[[], datetime],
        retry_wait_s: float = 0.5,
        heard: Heard = lambda _partner_id, _module, _reply: None,
    ) -> None:
        self._guarded = guarded
        self._clock = clock
        self._retry_wait_s = retry_wait_s
        self._heard = heard

    # ---- configuration modules: no routing headers (RT-02) ----------------------------------------------------------

    async def get_versions(self, url: str, token: str, raw: bool = False) -> Reply:
        return await self._configure("GET", url, token, raw)

    async def get_version_details(self, url: str, token: str, raw: bool = False) -> Reply:
        return _single(await self._configure("GET", url, token, raw))

    async def post_credentials(self, url: str, token: str, body: Body, raw: bool = False) -> Reply:
        return _single(await self._configure("POST", url, token, raw, body))

    async def put_credentials(self, url: str, token: str, body: Body, raw: bool = False) -> Reply:
        return _single(await self._configure("PUT", url, token, raw, body))

    async def delete_credentials(self, url: str, token: str, raw: bool = False) -> Reply:
        return await self._configure("DELETE", url, token, raw)

    # ---- pushes: whole objects are addressed by what stands in them (PU-01, PU-02) ----------------------------------

    async def put_location(self, peer: Peer, location: Body) -> Reply:
        return await self._push(peer, "PUT", "locations", _owned(location), location)

    async def patch_location(self, peer: Peer, ids: Sequence[str], changes: Body) -> Reply:
        """Of a Location, an EVSE or a Connector, named by the `ids` from the Location's down to its own."""
        return await self._push(peer, "PATCH", "locations", (*peer.our_party, *ids), changes)

    async def put_session(self, peer: Peer, session: Body) -> Reply:
        return await self._push(peer, "PUT", "sessions", _owned(session), session)

    async def patch_session(self, peer: Peer, session_id: str, changes: Body) -> Reply:
        """`changes["charging_periods"]` are appended by the receiver: only new ones (SE-05, SE-07)."""
        return await self._push(peer, "PATCH", "sessions", (*peer.our_party, session_id), changes)

    async def post_cdr(self, peer: Peer, cdr: Body) -> Reply:
        """CONFIRMED without `location` is still confirmed (CD-04)."""
        return await self._push(peer, "POST", "cdrs", (), cdr)

    async def get_cdr(self, peer: Peer, url: str) -> Reply:
        """At the address that the receiver gave it, the only one it has there (CD-03)."""
        return _single(await self._call("GET", url, _headers(peer), None, peer, "cdrs"))

    async def put_tariff(self, peer: Peer, tariff: Body) -> Reply:
        return await self._push(peer, "PUT", "tariffs", _owned(tariff), tariff)

    async def delete_tariff(self, peer: Peer, tariff_id: str) -> Reply:
        return await self._push(peer, "DELETE", "tariffs", (*peer.our_party, tariff_id), None)

    async def put_active_profile(self, peer: Peer, session_id: str, active: Body) -> Reply:
        """At the SENDER of charging profiles, who set one (CP-06)."""
        endpoint = peer.endpoints.get(("chargingprofiles", "SENDER"))
        if endpoint is None:
            return self._no_endpoint(peer, "chargingprofiles", "SENDER")
        return await self._call("PUT", join(endpoint, session_id), _headers(peer), active, peer, "chargingprofiles")

    # ---- questions and results --------------------------------------------------------------------------------------

    async def authorize(
        self, peer: Peer, uid: str, token_type: str, location_references: Body | None, timeout_s: float
    ) -> Reply:
        """`data` is the AuthorizationInfo when ok; NOT_FOUND is an unknown token (TK-36, TK-38)."""
        endpoint = peer.endpoints.get(("tokens", "SENDER"))
        if endpoint is None:
            return self._no_endpoint(peer, "tokens", "SENDER")
        url = join(endpoint, uid, "authorize", query=f"type={quote(token_type, safe='')}")
        headers = _headers(peer)
        return _single(await self._call("POST", url, headers, location_references, peer, "tokens", timeout_s))

    def get_tokens(
        self, peer: Peer, date_from: datetime | None = None, *, resume_at: str | None = None
    ) -> AsyncIterator[Sequence[Body]]:
        """The partner's tokens, as `_pages` brings them; `resume_at` is where an earlier pull broke off."""
        return self._pages(peer, "tokens", _headers(peer), date_from=date_from, resume_at=resume_at)

    def get_hub_clients(self, peer: Peer) -> AsyncIterator[Sequence[Body]]:
        """The hub's ClientInfo, as `_pages` brings it; without routing headers (HC-06)."""
        return self._pages(peer, "hubclientinfo", _authorization(peer.token, peer.send_raw_token))

    async def _pages(
        self,
        peer: Peer,
        module: str,
        headers: Mapping[str, str],
        *,
        date_from: datetime | None = None,
        resume_at: str | None = None,
    ) -> AsyncIterator[Sequence[Body]]:
        """A list page by page, to the end its Link headers name (PG-12), entries that are no objects left out (TY-18).
        Raises PullFailed when a page cannot be had after retries, or the links lead in circles."""
        url: str | None = peer.endpoints.get((module, "SENDER"))
        if url is None:
            reply = self._no_endpoint(peer, module, "SENDER")
            raise PullFailed(f"the partner lists no {module} SENDER endpoint", reply)
        if date_from is not None:
            url = f"{url}{'&' if '?' in url else '?'}date_from={quote(moment(date_from), safe='')}"
        url = resume_at or url
        sent = {**headers, "X-Correlation-ID": str(uuid.uuid4())}
        seen: set[str] = set()
        pages = 0
        total: int | None = None
        while url is not None:
            seen.add(url)
            reply = await self._get_again(peer, url, sent, module)
            if not reply.ok or not isinstance(reply.data, list | None):
                raise PullFailed(reply.status_message or "a page is not a list", reply, url)
            entries = reply.data or []
            page = [entry for entry in entries if isinstance(entry, dict)]
            if len(page) < len(entries):
                log.warning("pull_entries_unreadable", partner=peer.name, count=len(entries) - len(page))
            yield page
            before, total = total, total_count(reply.headers)
            again = None if before is None or total is None else earlier(url, before - total)
            if again is not None:
                seen -= {url, again}
            url = again or next_page(url, reply.headers)
            pages += 1
            if url in seen or pages >= MAX_PAGES:
                raise PullFailed("the partner's next links do not end", reply)

    async def post_result(self, peer: Peer, response_url: str, body: Body) -> Reply:
        """`response_url` is called as the partner gave it, query included (CM-07)."""
        return await self._call("POST", response_url, _headers(peer), body, peer, "commands")

    # ---- one exchange -----------------------------------------------------------------------------------------------

    async def _configure(self, method: str, url: str, token: str, raw: bool, body: Body | None = None) -> Reply:
        return await self._call(method, url, _authorization(token, raw), body, None, "credentials")

    async def _push(self, peer: Peer, method: str, module: str, path: Sequence[str], body: Body | None) -> Reply:
        endpoint = peer.endpoints.get((module, "RECEIVER"))
        if endpoint is None:
            return self._no_endpoint(peer, module, "RECEIVER")
        if body is not None and peer.version == v211.VERSION:
            body = {name: value for name, value in body.items() if name not in IN_ADDRESS_ONLY}
        return await self._call(method, join(endpoint, *path), _headers(peer), body, peer, module)

    async def _get_again(self, peer: Peer, url: str, headers: Mapping[str, str], module: str) -> Reply:
        """A GET is repeated while its answer is in doubt, and honours the partner's Retry-After (PU-12)."""
        reply = Reply(delivery=Delivery.UNREACHABLE, at=self._clock())
        try:
            async for attempt in stamina.retry_context(
                on=_wait_before_retry,
                attempts=3,
                timeout=90.0,
                wait_initial=self._retry_wait_s,
                wait_max=10.0,
                wait_jitter=self._retry_wait_s,
            ):
                with attempt:
                    reply = await self._call("GET", url, headers, None, peer, module, max_bytes=None)
                    if reply.delivery in (Delivery.UNSURE, Delivery.UNREACHABLE):
                        raise _InDoubt(reply)
        except _InDoubt:
            pass
        return reply

    async def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        peer: Peer | None,
        module: str,
        timeout_s: float | None = None,
        max_bytes: int | None = ANSWER_BYTES,
    ) -> Reply:
        ids = {"X-Request-ID": str(uuid.uuid4()), "X-Correlation-ID": str(uuid.uuid4())}
        sent = {**ids, **headers}
        if peer is not None and peer.version == v211.VERSION:  # it has no message ids (V1-03)
            sent = {name: value for name, value in sent.items() if name not in ids}
        content = None
        if body is not None:
            content = encode(body)
            sent["Content-Type"] = "application/json"
        started = asyncio.get_running_loop().time()
        try:
            response = await self._guarded.request(method, url, sent, content, timeout_s=timeout_s, max_bytes=max_bytes)
            reply = read(response, url, self._clock())
        except (Refused, Unreachable) as reason:
            reply = Reply(delivery=Delivery.UNREACHABLE, at=self._clock(), status_message=str(reason))
        except Unanswered as reason:
            reply = Reply(delivery=Delivery.UNSURE, at=self._clock(), status_message=str(reason))
        (log.debug if reply.ok else log.warning)(
            "partner_called",
            partner=peer.name if peer is not None else "",
            module=module,
            method=method,
            delivery=reply.delivery.value,
            http_status=reply.http_status,
            status_code=reply.status_code,
            # A partner's own text may name a token; it stays in the reply.
            failure=reply.status_message if reply.http_status is None else "",
            request_id=ids["X-Request-ID"],
            ms=round((asyncio.get_running_loop().time() - started) * 1000),
        )
        if peer is not None and peer.partner_id is not None:
            self._heard(peer.partner_id, module, reply)
        return reply

    def _no_endpoint(self, peer: Peer, module: str, role: str) -> Reply:
        return Reply(
            delivery=Delivery.UNREACHABLE,
            at=self._clock(),
            status_message=f"{peer.name} lists no {module} {role} endpoint",
        )


class _InDoubt(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.delivery.value)
        self.reply = reply


def _wait_before_retry(error: Exception) -> bool | float:
    if not isinstance(error, _InDoubt):
        return False
    asked = error.reply.headers.get("retry-after", "")
    return min(float(asked), 30.0) if asked.isdecimal() else True


def _single(reply: Reply) -> Reply:
    """Some peers wrap the one object in a list."""
    if isinstance(reply.data, list) and len(reply.data) == 1:
        return replace(reply, data=reply.data[0])
    return reply


def _owned(body: Body) -> tuple[str, str, str]:
    return str(body["country_code"]), str(body["party_id"]), str(body["id"])


def _authorization(token: str, raw: bool) -> dict[str, str]:
    return {"Authorization": f"Token {token if raw else base64.b64encode(token.encode()).decode()}"}


def _headers(peer: Peer) -> dict[str, str]:
    """Authorization and, from OCPI 2.2 on, who speaks to whom (RT-01, RT-04)."""
    headers = _authorization(peer.token, peer.send_raw_token)
    if not peer.version.startswith(("2.0", "2.1")):
        headers["OCPI-from-country-code"], headers["OCPI-from-party-id"] = peer.our_party
        if peer.their_party is not None:
            headers["OCPI-to-country-code"], headers["OCPI-to-party-id"] = peer.their_party
    return headers
