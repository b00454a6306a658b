"""An eMSP of OCPI 2.1.1, which may speak 2.2.1 too: it takes what the 2.1.1 field tables allow, and complains of all else."""

import base64
import contextlib
import json
import secrets
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.adapters.field_tables import problems
from tests.ocpi_bridge.our_door import served

FRESH = ("x-request-id", "x-correlation-id", "ocpi-from-party-id", "ocpi-to-party-id")  # what 2.1.1 does not have
OBJECTS = {"locations": "Location", "sessions": "Session", "tariffs": "Tariff"}
MODULES = ("credentials", "locations", "sessions", "cdrs", "tariffs", "tokens", "commands")
SENDER = ("credentials", "tokens", "commands")


class Partner211(contextlib.AsyncExitStack):
    """`inbound`: tokens by which it is called; `outbound`: the one by which it calls. `told`: (method, what stands behind the
    version in the path, body), in order, of what it was told of the CPO's objects. `versions`: that it offers."""

    def __init__(self, party: tuple[str, str] = ("DE", "TNM"), versions: tuple[str, ...] = ("2.1.1",)) -> None:
        super().__init__()
        self.party = party
        self.versions = versions
        self.inbound: set[str] = set()
        self.outbound = ""
        self.endpoints: dict[str, str] = {}
        self.cards: list[dict[str, Any]] = []
        self.allowed = "ALLOWED"
        self.fails_over_raw = False  # as py_ocpi does at its list of versions, when a token is no Base64
        self.told: list[tuple[str, str, Any]] = []
        self.authorized: list[tuple[str, str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.complaints: list[str] = []

    async def __aenter__(self) -> "Partner211":
        await super().__aenter__()
        listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._http = await self.enter_async_context(httpx.AsyncClient())
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])])
        await self.enter_async_context(served(app, listener))
        return self

    @property
    def versions_url(self) -> str:
        return f"{self.base_url}/versions"

    # ---- what it does -----------------------------------------------------------------------------------------------

    async def call(self, method: str, url: str, body: Any = None, *, token: str | None = None, raw: bool = True) -> Any:
        """The answer's data; `raw` as 2.1.1 writes tokens. Complains when it is no success."""
        written = token or self.outbound
        written = written if raw else base64.b64encode(written.encode()).decode()
        response = await self._http.request(method, url, headers={"Authorization": f"Token {written}"}, json=body)
        envelope = json.loads(response.text, parse_float=Decimal)
        if raw and any(name in response.headers for name in FRESH) and not url.endswith("/versions"):
            self.complaints.append(f"{method} {url}: headers of another version")
        if envelope["status_code"] != 1000:
            self.complaints.append(f"{method} {url}: {response.status_code} {envelope}")
        return envelope.get("data")

    async def register(self, versions_url: str, token: str, *, method: str = "POST", version: str = "2.1.1") -> Any:
        """With token A, or by PUT with the token it has, which switches to `version`. Returns the CPO's credentials."""
        raw = version == "2.1.1"
        versions = await self.call("GET", versions_url, token=token, raw=raw)
        details_url = next(entry["url"] for entry in versions if entry["version"] == version)
        details = await self.call("GET", details_url, token=token, raw=raw)
        self.endpoints = {entry["identifier"]: entry["url"] for entry in details["endpoints"]}
        credentials = await self.call(
            method, self.endpoints["credentials"], self._credentials(version), token=token, raw=raw
        )
        if raw:
            self.complaints += [found for entry in details["endpoints"] for found in known(entry, "Endpoint")]
            self.complaints += known(credentials, "Credentials")
        self.outbound = credentials["token"]
        return credentials

    def issue(self, uid: str, **changes: Any) -> dict[str, Any]:
        card = {
            "uid": uid,
            "type": "RFID",
            "auth_id": f"{self.party[0]}-{self.party[1]}-C{len(self.cards):08}-X",
            "issuer": "TheNewMotion",
            "valid": True,
            "whitelist": "ALLOWED",
            "last_updated": "2026-03-04T11:00:00Z",
        } | changes
        self.cards.append(card)
        return card

    def _credentials(self, version: str) -> dict[str, Any]:
        """With a fresh token by which it is called."""
        token = secrets.token_urlsafe(24)
        self.inbound = {token}
        of_it = {"country_code": self.party[0], "party_id": self.party[1], "business_details": {"name": "TNM"}}
        body = {"token": token, "url": self.versions_url}
        return body | (of_it if version == "2.1.1" else {"roles": [{"role": "EMSP", **of_it}]})

    # ---- what it answers --------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        presented = request.headers.get("authorization", "").removeprefix("Token ")
        if self.fails_over_raw and request.url.path == "/versions" and presented in self.inbound:
            return _enveloped(code=3000)
        if not self._knows(presented, request.url.path):
            return _enveloped(http=401, code=2000)
        body = json.loads(content, parse_float=Decimal) if (content := await request.body()) else None
        segments = request.url.path.strip("/").split("/")
        if segments == ["versions"]:
            return _enveloped([{"version": each, "url": f"{self.base_url}/{each}"} for each in self.versions])
        version, *rest = segments
        if (
            version == "2.1.1"
            and any(name in request.headers for name in FRESH)
            and rest[:1] not in ([], ["credentials"])
        ):
            self.complaints.append(f"{request.method} {request.url.path}: headers of another version")
        if not rest:
            return _enveloped({"version": version, "endpoints": [self._endpoint(version, each) for each in MODULES]})
        return self._module(version, request, rest, body)

    def _knows(self, presented: str, path: str) -> bool:
        """Base64 is how 2.2.1 writes it; the list of versions is of both."""
        if path.startswith("/2.1.1") or (
            path == "/versions" and "2.1.1" in self.versions and presented in self.inbound
        ):
            return presented in self.inbound
        try:
            encoded = "2.2.1" in self.versions or (path == "/versions" and self.fails_over_raw)
            return encoded and base64.b64decode(presented, validate=True).decode() in self.inbound
        except ValueError:
            return False

    def _endpoint(self, version: str, module: str) -> dict[str, str]:
        role = {} if version == "2.1.1" else {"role": "SENDER" if module in SENDER else "RECEIVER"}
        return {"identifier": module, "url": f"{self.base_url}/{version}/{module}"} | role

    def _module(self, version: str, request: Request, path: list[str], body: Any) -> Response:
        match [request.method, *path]:
            case ["POST" | "PUT", "credentials"]:
                self.outbound = body["token"]
                if version == "2.1.1":
                    self.complaints += known(body, "Credentials")
                return _enveloped(self._credentials(version))
            case ["DELETE", "credentials"]:
                self.inbound, self.outbound = set(), ""
                return _enveloped()
            case ["GET", "tokens"]:
                of_it = dict(zip(("country_code", "party_id"), self.party, strict=True))
                return _enveloped(self.cards if version == "2.1.1" else [_in_221(card) | of_it for card in self.cards])
            case ["POST", "tokens", uid, "authorize"]:
                self.authorized.append((uid, request.query_params.get("type", "RFID"), body))
                return _enveloped({"allowed": self.allowed} | ({"location": body} if body else {}))
            case ["POST", "commands", *_]:
                self.results.append(body)
                if version == "2.1.1":
                    self.complaints += known(body, "CommandResponse")
                return _enveloped()
            case [method, *_]:
                self.told.append((method, "/".join(path), body))
                if version == "2.1.1":
                    self.complaints += self._judged(method, path, body)
                location = {"Location": f"{self.base_url}/{version}/cdrs/1"} if path == ["cdrs"] else {}
                return _enveloped(headers=location)
        return _enveloped(http=404, code=2000)

    def _judged(self, method: str, path: list[str], body: Any) -> list[str]:
        if path == ["cdrs"]:
            return known(body, "CDR")
        module, country_code, party_id, *ids = path
        if (country_code, party_id) != ("BE", "BEC"):
            return [f"{'/'.join(path)}: not the party of the credentials"]
        if method != "PUT":
            return []
        return known(body, OBJECTS[module]) + ([] if body["id"] == ids[0] else [f"{path}: {body['id']}"])


def known(body: Mapping[str, Any], kind: str) -> list[str]:
    return problems(body, kind, at=kind, version="2.1.1")


def _in_221(card: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in card.items() if name != "auth_id"} | {"contract_id": card["auth_id"]}


def _enveloped(data: Any = None, *, code: int = 1000, http: int = 200, headers: Any = None) -> Response:
    body = {"status_code": code, "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    content = json.dumps(body | ({} if data is None else {"data": data}), default=float)
    return Response(content, http, headers, "application/json")
