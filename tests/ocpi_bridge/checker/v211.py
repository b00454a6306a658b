"""A platform of OCPI 2.1.1 as the specification describes it, with one object of each kind."""

import base64
import contextlib
import json
import socket
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.ocpi_bridge.our_door import served

AT = "2026-03-04T12:00:00Z"
CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "voltage": 230,
    "amperage": 32,
    "tariff_id": "T1",
    "last_updated": AT,
}
LOCATION = {
    "id": "LOC1",
    "type": "ON_STREET",
    "address": "F.Rooseveltlaan 3A",
    "city": "Gent",
    "postal_code": "9000",
    "country": "BEL",
    "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
    "evses": [{"uid": "E1", "status": "AVAILABLE", "connectors": [CONNECTOR], "last_updated": AT}],
    "last_updated": AT,
}
TARIFF = {
    "id": "T1",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "step_size": 1}]}],
    "last_updated": AT,
}
PERIODS = [{"start_date_time": AT, "dimensions": [{"type": "ENERGY", "volume": 3.2}, {"type": "TIME", "volume": 0.5}]}]
SHARED = {
    "auth_id": "DE-TNM-1",
    "auth_method": "WHITELIST",
    "location": LOCATION,
    "currency": "EUR",
    "charging_periods": PERIODS,
    "total_cost": 0.8,
    "last_updated": AT,
}
SESSION = {
    "id": "S1",
    "start_datetime": AT,
    "end_datetime": "2026-03-04T12:30:00Z",
    "kwh": 3.2,
    "status": "COMPLETED",
    **SHARED,
}
CDR = {
    "id": "C1",
    "start_date_time": AT,
    "stop_date_time": "2026-03-04T12:30:00Z",
    "total_energy": 3.2,
    "total_time": 0.5,
    **SHARED,
}
TOKEN = {
    "uid": "04A1B2C3",
    "type": "RFID",
    "auth_id": "DE-TNM-1",
    "issuer": "Example",
    "valid": True,
    "whitelist": "ALLOWED",
    "last_updated": AT,
}
OF_A_CPO = {"locations": [LOCATION], "tariffs": [TARIFF], "sessions": [SESSION], "cdrs": [CDR]}
MODULES = ("credentials", "locations", "tariffs", "sessions", "cdrs", "tokens", "commands")


class Platform211(contextlib.AsyncExitStack):
    """`encoded`: it wants its token in Base64, which 2.1.1 does not."""

    def __init__(self, token: str, *, emsp: bool = False, encoded: bool = False) -> None:
        super().__init__()
        self.objects: dict[str, list[dict[str, Any]]] = {"tokens": [TOKEN]} if emsp else OF_A_CPO
        self._token = token
        self._wanted = base64.b64encode(token.encode()).decode() if encoded else token

    async def __aenter__(self) -> "Platform211":
        await super().__aenter__()
        listener = socket.socket(proto=socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        self._base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET"])])
        await self.enter_async_context(served(app, listener))
        return self

    @property
    def versions_url(self) -> str:
        return f"{self._base}/versions"

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Token {self._wanted}":
            return _enveloped(401, 2001)
        match request.url.path.strip("/").split("/"):
            case ["versions"]:
                return _enveloped(data=[{"version": "2.1.1", "url": f"{self._base}/2.1.1"}])
            case ["2.1.1"]:
                endpoints = [{"identifier": module, "url": f"{self._base}/2.1.1/{module}"} for module in MODULES]
                return _enveloped(data={"version": "2.1.1", "endpoints": endpoints})
            case ["2.1.1", "credentials"]:
                return _enveloped(
                    data={
                        "token": self._token,
                        "url": self.versions_url,
                        "business_details": {"name": "Example"},
                        "party_id": "EXA",
                        "country_code": "NL",
                    }
                )
            case ["2.1.1", module] if module in self.objects:
                return self._list(module, request)
            case ["2.1.1", "locations", "LOC1", *parts] if "locations" in self.objects:
                return _part(self.objects["locations"][0], parts)
        return _enveloped(404, 2000)

    def _list(self, module: str, request: Request) -> Response:
        query = request.query_params
        try:
            offset, limit = int(query.get("offset", 0)), int(query.get("limit", 50))
        except ValueError:
            return _enveloped(200, 2001)
        if "yesterday" in query.values() or (module == "sessions" and "date_from" not in query):
            return _enveloped(200, 2001)
        found = [
            entry
            for entry in self.objects[module]
            if query.get("date_from", "") <= entry["last_updated"] < query.get("date_to", "9")
        ]
        headers = {"X-Total-Count": str(len(found)), "X-Limit": "50"}
        return _enveloped(data=found[offset : offset + limit], headers=headers)


def _part(location: dict[str, Any], parts: list[str]) -> Response:
    found: Any = location
    for part, (children, name) in zip(parts, (("evses", "uid"), ("connectors", "id")), strict=False):
        found = next((entry for entry in found[children] if entry[name] == part), None)
        if found is None:
            return _enveloped(404, 2003)
    return _enveloped(data=found)


def _enveloped(http: int = 200, code: int = 1000, *, data: Any = None, headers: Any = None) -> Response:
    body = {"status_code": code, "timestamp": AT} | ({} if data is None else {"data": data})
    return Response(json.dumps(body), http, headers, "application/json")
