"""A hub: it routes by the headers as OCPI's message routing says, and keeps all that passes through it."""

import asyncio
import base64
import contextlib
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import httpx
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.ocpi_bridge.our_door import served

VERSION = "2.2.1"
AT = "2026-03-04T12:00:00Z"
HUB = ("DE", "HUB")
Party = tuple[str, str]
RECEIVES = ("locations", "sessions", "cdrs", "tariffs")  # from CPOs
SENDER = {"tokens", "commands", "chargingprofiles", "hubclientinfo", "credentials"}


@dataclass(kw_only=True)
class Client:
    """`token_in`: by which it calls the hub; `token_out`: by which the hub calls it; `endpoints` its own."""

    party: Party
    role: str
    token_in: str
    token_out: str
    endpoints: Mapping[tuple[str, str], str]
    status: str = "CONNECTED"
    last_updated: str = AT
    platform: str = ""  # clients of one platform share their tokens


@dataclass(frozen=True, kw_only=True)
class Passed:
    """One request through the hub: who sent it, to whom it was passed on (None: nobody), and both answers' routing."""

    method: str
    module: str
    path: str
    to: Party | None
    sender: Party | None
    body: Any
    reached: Party | None
    answered: tuple[Party | None, Party | None] = (None, None)  # to, from in the client's answer
    http_status: int | None = None
    answer: Any = field(default=None, repr=False)


class RecordingHub:
    def __init__(self) -> None:
        self.base_url = ""
        self.party = HUB
        self.clients: dict[Party, Client] = {}
        self.passed: list[Passed] = []
        self.invitations: set[str] = set()
        self.configuration: list[tuple[str, Mapping[str, str]]] = []  # requests of modules that are not routed
        self._callbacks: dict[str, tuple[str, Party]] = {}  # what an eMSP wanted called, and by which client of ours
        self._changed = asyncio.Event()
        self._http = httpx.AsyncClient(trust_env=False, timeout=30.0)

    # ---- its clients ------------------------------------------------------------------------------------------------

    def join(self, party: Party, role: str, endpoints: Mapping[tuple[str, str], str], **options: str) -> Client:
        client = Client(
            party=party,
            role=role,
            token_in=secrets.token_urlsafe(24),
            token_out=options.pop("token_out", secrets.token_urlsafe(24)),
            endpoints=endpoints,
            **options,
        )
        self.clients[party] = client
        self._changed.set()
        return client

    def invite(self) -> str:
        token = secrets.token_urlsafe(24)
        self.invitations.add(token)
        return token

    async def tell(self, cpo: Party, party: Party, status: str, at: str) -> httpx.Response:
        """Push the ClientInfo of `party` to `cpo` (HC-01)."""
        client = self.clients[party]
        client.status, client.last_updated = status, at
        told = self.clients[cpo]
        url = f"{told.endpoints['hubclientinfo', 'RECEIVER'].rstrip('/')}/{party[0]}/{party[1]}"
        return await self._http.put(url, headers=_ids(told.token_out), content=orjson.dumps(self._info(client)))

    async def ask(self, cpo: Party, method: str, module: str, *path: str, sender: Party | None, **options: Any) -> Any:
        """A request of the hub's own, `sender` in its headers, to the module's end at `cpo`."""
        to: Party | None = options.pop("to", cpo)
        role, query = options.pop("role", None), options.pop("query", "")
        told = self.clients[cpo]
        ends = [role] if role else ["RECEIVER", "SENDER"]
        endpoint = next(told.endpoints[module, end] for end in ends if (module, end) in told.endpoints)
        url = "/".join([endpoint.rstrip("/"), *(quote(part, safe="") for part in path)]) + query
        headers = _ids(told.token_out) | _routing(to, sender)
        return await self._http.request(method, url, headers=headers, **options)

    async def asked_by(
        self, sender: Party, to: Party, method: str, module: str, *path: str, query: str = "", body: Any = None
    ) -> httpx.Response:
        """Whatever one client may ask of another through us, whether or not its software ever would."""
        headers = _ids(self.clients[sender].token_in) | _routing(to, sender)
        url = "/".join([self.base_url, VERSION, module, *(quote(part, safe="") for part in path)]) + query
        return await self._http.request(
            method, url, headers=headers, content=None if body is None else orjson.dumps(body)
        )

    @property
    def endpoints(self) -> dict[tuple[str, str], str]:
        """As a CPO sees them."""
        modules = dict.fromkeys(RECEIVES, "RECEIVER") | dict.fromkeys(SENDER, "SENDER")
        return {(module, role): f"{self.base_url}/{VERSION}/{module}" for module, role in modules.items()}

    @property
    def endpoints_for_emsp(self) -> dict[tuple[str, str], str]:
        modules = dict.fromkeys(RECEIVES, "SENDER") | {"tokens": "RECEIVER", "commands": "RECEIVER"}
        return {(module, role): f"{self.base_url}/{VERSION}/{module}" for module, role in modules.items()}

    def through(self, module: str, method: str = "") -> list[Passed]:
        return [each for each in self.passed if each.module == module and method in ("", each.method)]

    async def until(self, predicate: Any, timeout_s: float = 30.0) -> Any:
        async with asyncio.timeout(timeout_s):
            while not (found := predicate()):
                self._changed.clear()
                await self._changed.wait()
            return found

    # ---- it is called -----------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["RecordingHub"]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])
        async with served(app, listener):
            yield self
        await self._http.aclose()

    async def _answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode().strip("/").split("/")
        body = orjson.loads(content) if (content := await request.body()) else None
        token = _token(request.headers.get("authorization", ""))
        try:
            answer = await self._answered(request, raw, body, token)
            for name in ("X-Request-ID", "X-Correlation-ID"):
                if name in request.headers:
                    answer.headers[name] = request.headers[name]
            return answer
        finally:
            self._changed.set()

    async def _answered(self, request: Request, raw: Sequence[str], body: Any, token: str) -> Response:
        sender = next((client for client in self.clients.values() if client.token_in == token), None)
        if raw[0] == "versions":
            return _enveloped([{"version": VERSION, "url": f"{self.base_url}/{VERSION}"}])
        if sender is None and token not in self.invitations:
            return _enveloped(None, 2000, http=401)
        if raw == [VERSION]:
            listed = [{"identifier": m, "role": r, "url": url} for (m, r), url in self.endpoints.items()]
            return _enveloped({"version": VERSION, "endpoints": listed})
        module, path = (raw[1], raw[2:]) if raw[0] == VERSION else (raw[0], raw[1:])
        if module in ("credentials", "hubclientinfo"):
            self.configuration.append((module, dict(request.headers)))
        if module == "credentials":
            return await self._register(body, token)
        if module == "hubclientinfo":
            return _enveloped([self._info(client) for client in self.clients.values() if client is not sender])
        assert sender is not None
        return await self._route(request, sender, module, path, body)

    async def _register(self, body: Any, token: str) -> Response:
        """A CPO's POST or PUT: its endpoints are read, and it gets a token of ours."""
        headers = _ids(body["token"])
        versions = (await self._http.get(body["url"], headers=headers)).json()["data"]
        url = next(version["url"] for version in versions if version["version"] == VERSION)
        details = (await self._http.get(url, headers=headers)).json()["data"]
        endpoints = {(e["identifier"], e["role"]): e["url"] for e in details["endpoints"]}
        issued = secrets.token_urlsafe(24)
        for role in body["roles"]:
            party = (role["country_code"], role["party_id"])
            client = self.join(party, role["role"], endpoints, token_out=body["token"], platform=body["url"])
            client.token_in = issued
        self.invitations.discard(token)
        return _enveloped(self.credentials(issued))

    def credentials(self, token: str) -> dict[str, Any]:
        """A hub of 2.2.1 has the role HUB, and its clients are told by HubClientInfo (CR-33)."""
        role = {"role": "HUB", "country_code": HUB[0], "party_id": HUB[1], "business_details": {"name": "The hub"}}
        return {"token": token, "url": f"{self.base_url}/versions", "roles": [role]}

    def _info(self, client: Client) -> dict[str, str]:
        country_code, party_id = client.party
        told = {"country_code": country_code, "party_id": party_id, "role": client.role}
        return told | {"status": client.status, "last_updated": client.last_updated}

    # ---- it passes on -----------------------------------------------------------------------------------------------

    async def _route(self, request: Request, sender: Client, module: str, path: Sequence[str], body: Any) -> Response:
        to, source = _party(request.headers, "to"), _party(request.headers, "from")
        others = [client for client in self.clients.values() if (client.role == "CPO") != (sender.role == "CPO")]
        if to == HUB and request.method != "GET":
            for client in others:
                if client.status == "CONNECTED":
                    await self._pass(request, client, module, path, body, to=client.party, source=HUB)
            return self._unreached(request, module, path, body, 1000)
        if to is None:
            for client in others:
                answer = await self._pass(request, client, module, path, body, to=client.party, source=source)
                if answer.status_code < 300 and request.method != "DELETE":
                    return answer
            return self._unreached(request, module, path, body, 1000 if request.method == "DELETE" else 2004)
        if to == HUB:
            found = []
            for client in others:
                answer = await self._pass(request, client, module, path, body, to=client.party, source=HUB)
                found += orjson.loads(answer.body).get("data") or []
            return _enveloped(found, headers=_routing(source, HUB))
        client = self.clients.get(to)
        if client is None:
            return self._unreached(request, module, path, body, 4001)
        if client.status != "CONNECTED":
            return self._unreached(request, module, path, body, 4003)
        return await self._pass(request, client, module, path, body, to=to, source=source)

    def _unreached(self, request: Request, module: str, path: Sequence[str], body: Any, code: int) -> Response:
        to, source = _party(request.headers, "to"), _party(request.headers, "from")
        self.passed.append(
            Passed(
                method=request.method,
                module=module,
                path="/".join(map(unquote, path)),
                to=to,
                sender=source,
                body=body,
                reached=None,
            )
        )
        return _enveloped(None, code, headers=_routing(source, HUB))

    async def _pass(
        self,
        request: Request,
        client: Client,
        module: str,
        path: Sequence[str],
        body: Any,
        *,
        to: Party,
        source: Party | None,
    ) -> Response:
        """New X-Request-ID, same X-Correlation-ID; the objects as they came (RT-17)."""
        to_them, sent = body, body
        if module == "callback":
            url, _ = self._callbacks[path[0]]
        else:
            if isinstance(body, dict) and "response_url" in body:
                key = uuid.uuid4().hex
                self._callbacks[key] = (body["response_url"], to)
                sent = body | {"response_url": f"{self.base_url}/callback/{key}"}
            ends = ("RECEIVER", "SENDER") if module != "tokens" or request.method != "POST" else ("SENDER",)
            endpoint = next((client.endpoints[module, end] for end in ends if (module, end) in client.endpoints), None)
            if endpoint is None:
                return _enveloped(None, 2000, http=404)
            url = "/".join([endpoint.rstrip("/"), *path])
            url += f"?{request.url.query}" if request.url.query else ""
        headers = _ids(client.token_out, request.headers.get("x-correlation-id")) | _routing(to, source)
        content = None if sent is None else orjson.dumps(sent)
        got = await self._http.request(request.method, url, headers=headers, content=content)
        answer = orjson.loads(got.content)
        self.passed.append(
            Passed(
                method=request.method,
                module=module,
                path="/".join(map(unquote, path)),
                to=_party(request.headers, "to"),
                sender=_party(request.headers, "from"),
                body=to_them,
                reached=client.party,
                answered=(_party(got.headers, "to"), _party(got.headers, "from")),
                http_status=got.status_code,
                answer=answer,
            )
        )
        named = ("location", "x-total-count", "x-limit", "link")
        kept = {name: got.headers[name] for name in named if name in got.headers}
        return Response(got.content, got.status_code, kept | _routing(source, to), media_type="application/json")


def behind(hub: RecordingHub, emsp: EmspSimulator, *cpos: Party) -> None:
    """`emsp` is a client of the hub, and knows these CPOs there; the first is whom it addresses."""
    client = hub.join(emsp.party, "EMSP", emsp.endpoints)
    emsp.trust(client.token_out, *cpos, HUB)
    emsp.outbound, emsp.cpo_endpoints = client.token_in, hub.endpoints_for_emsp


def _enveloped(data: Any, code: int = 1000, *, http: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = {"status_code": code, "timestamp": AT} | ({} if data is None else {"data": data})
    return Response(orjson.dumps(body), http, headers, media_type="application/json")


def _ids(token: str, correlation_id: str | None = None) -> dict[str, str]:
    return {
        "Authorization": f"Token {base64.b64encode(token.encode()).decode()}",
        "Content-Type": "application/json",
        "X-Request-ID": str(uuid.uuid4()),
        "X-Correlation-ID": correlation_id or str(uuid.uuid4()),
    }


def _routing(to: Party | None, source: Party | None) -> dict[str, str]:
    return {
        f"OCPI-{end}-{name}": word
        for end, party in (("to", to), ("from", source))
        if party is not None
        for name, word in zip(("country-code", "party-id"), party, strict=True)
    }


def _party(headers: Mapping[str, str], end: str) -> Party | None:
    country_code, party_id = headers.get(f"ocpi-{end}-country-code"), headers.get(f"ocpi-{end}-party-id")
    return None if country_code is None or party_id is None else (country_code, party_id)


def _token(header: str) -> str:
    return base64.b64decode(header.removeprefix("Token ")).decode()
