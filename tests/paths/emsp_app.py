"""An eMSP of py_ocpi's own making, in a process of its own: its application and its routers as they come, over this Crud.

Its argument is the version of OCPI that it speaks. It prints the port it listens on. `/test/...` is the test's side door; all
else is py_ocpi's.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Party:
    """One eMSP of this platform: its tokens, its drivers' cards, and what it was told."""

    def __init__(self, country_code: str, party_id: str, url: str, version: str) -> None:
        self.version = version
        self.country_code = country_code
        self.party_id = party_id
        self.url = url
        self.token_a: str | None = None
        self.token_c: str | None = None
        self.cards: dict[str, dict[str, Any]] = {}
        self.allowed: dict[str, str] = {}
        self.silent = False
        self.closed = False
        self.takes_s = 0.0  # to answer, beyond what py_ocpi takes
        self.objects: dict[tuple[Any, str], dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []

    def credentials(self) -> dict[str, Any]:
        party = {"country_code": self.country_code, "party_id": self.party_id}
        party["business_details"] = {"name": f"Drivers of {self.party_id}"}
        whose = party if self.version == "2.1.1" else {"roles": [{"role": "EMSP", **party}]}
        return {"token": self.token_c, "url": self.url, **whose}

    def issue(self, uid: str, *, whitelist: str, allowed: str, listed: bool) -> dict[str, Any]:
        party = {} if self.version == "2.1.1" else {"country_code": self.country_code, "party_id": self.party_id}
        card = {
            **party,
            "uid": uid,
            "type": "RFID",
            "auth_id"
            if self.version == "2.1.1"
            else "contract_id": f"{self.country_code}-{self.party_id}-C{len(self.cards):08}-X",
            "issuer": f"Drivers of {self.party_id}",
            "valid": allowed == "ALLOWED",
            "whitelist": whitelist,
            "last_updated": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.allowed[uid.casefold()] = allowed
        if listed:
            self.cards[uid.casefold()] = card
        return card


class Platform:
    """py_ocpi's Crud and Authenticator need only these verbs; which party is meant is in the token that was presented."""

    def __init__(self, url: str, version: str) -> None:
        self.url = url
        self.version = version
        self.parties: dict[str, Party] = {}
        self.strangers = Party("ZZ", "ZZZ", url, version)  # whoever comes with a token of nobody

    def of(self, token: str | None) -> Party:
        return next((p for p in self.parties.values() if token in (p.token_a, p.token_c)), self.strangers)

    # ---- Authenticator ----------------------------------------------------------------------------------------------

    def authenticator(self, base: type[Any]) -> type[Any]:
        platform = self

        class Tokens(base):  # type: ignore[misc]
            @classmethod
            async def get_valid_token_c(cls) -> list[str]:
                return [party.token_c for party in platform.parties.values() if party.token_c]

            @classmethod
            async def get_valid_token_a(cls) -> list[str]:
                return [party.token_a for party in platform.parties.values() if party.token_a]

        return Tokens

    # ---- Crud -------------------------------------------------------------------------------------------------------

    async def get(self, module: Any, role: Any, id: str, *, auth_token: str, **_: Any) -> Any:
        party = self.of(auth_token)
        if module == "credentials":
            return party.credentials()
        if module == "tokens":
            return id.casefold() in party.allowed
        return party.objects.get((module, id))

    async def list(self, module: Any, role: Any, filters: Any, *, auth_token: str, **_: Any) -> Any:
        cards = list(self.of(auth_token).cards.values())
        page = cards[filters["offset"] : filters["offset"] + filters["limit"]]
        return page, len(cards), filters["offset"] + filters["limit"] >= len(cards)

    async def create(self, module: Any, role: Any, data: Any, *args: str, auth_token: str = "", **_: Any) -> Any:
        party = self.of(auth_token or args[0])  # py_ocpi itself names it for some modules and not for others
        if module == "credentials":
            party.objects[module, "ours"] = data
            party.token_a, party.token_c = None, secrets.token_hex(24)
            return party.credentials()
        party.objects[module, data["id"]] = data
        return data

    async def update(self, module: Any, role: Any, data: Any, id: str, *, auth_token: str, **_: Any) -> Any:
        party = self.of(auth_token)
        if module == "credentials":
            party.token_c = secrets.token_hex(24)
            return party.credentials()
        party.objects[module, id] = data
        return data

    async def delete(self, module: Any, role: Any, id: str, *, auth_token: str, **_: Any) -> None:
        party = self.of(auth_token)
        if module == "credentials":
            party.token_c = None
        party.objects.pop((module, id), None)

    async def do(self, module: Any, role: Any, action: Any, *, data: Any, auth_token: str, **_: Any) -> Any:
        """AuthorizeToken is all that an eMSP is asked to do."""
        party = self.of(auth_token)
        if party.silent:
            await asyncio.Event().wait()
        uid = str(data["token_uid"])
        card = party.cards.get(uid.casefold()) or party.issue(
            uid, whitelist="NEVER", allowed=party.allowed[uid.casefold()], listed=False
        )
        return {
            "allowed": party.allowed[uid.casefold()],
            "token": card,
            "location": data["location_reference"],
            "authorization_reference": f"ref-{uid}",
        }

    # ---- the side door ----------------------------------------------------------------------------------------------

    def order(self, order: dict[str, Any]) -> Any:
        name = order.pop("party")
        if order["do"] == "open":
            party = self.parties[name] = Party(name[:2], name[3:], self.url, self.version)
            setattr(party, "token_a" if order["kind"] == "A" else "token_c", order["token"])
            return party.credentials()
        party = self.parties[name]
        match order.pop("do"):
            case "issue":
                return party.issue(**order)
            case "silence":
                party.silent = True
            case "close":
                party.closed = order["closed"]
            case "slow":
                party.takes_s = order["takes_s"]
            case "requests":
                return party.requests
            case "token":
                return party.token_c
            case "credentials":
                return party.credentials()
        return None


class Recorder:
    """Keeps each request as it came in and how it was answered, and is the side door."""

    def __init__(self, app: Any, platform: Platform) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["path"].startswith("/test/"):
            await _answer(send, self._platform.order(json.loads(body)))
            return
        await self._record(scope, body, receive, send)

    async def _record(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        taken: dict[str, Any] = {
            "method": scope["method"],
            "path": scope["path"],
            "headers": headers,
            "body": json.loads(body) if body else None,
        }
        answer = b""
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def kept(message: Message) -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                taken["http_status"] = message["status"]
            else:
                answer += message.get("body", b"")
                if not message.get("more_body"):
                    taken["status_code"] = json.loads(answer).get("status_code") if answer else None
                    party.requests.append(taken)
            await send(message)

        party = self._platform.of(_presented(headers.get("authorization", ""), self._platform.version))
        if party.closed:
            await _answer(send, {"closed": "for maintenance"}, status=503)
            return
        await asyncio.sleep(party.takes_s)
        await self._app(scope, again, kept)


def _presented(header: str, version: str) -> str:
    from py_ocpi.core.utils import decode_string_base64

    written = header.removeprefix("Token ")
    return written if version == "2.1.1" else str(decode_string_base64(written))


def let_a_cdr_stop() -> None:
    """py_ocpi's CDR of 2.1.1 has an `end_date_time`, which the specification calls `stop_date_time` (2.1.1 mod_cdrs)."""
    from py_ocpi.modules.cdrs.v_2_1_1.schemas import Cdr

    Cdr.__fields__["end_date_time"].alias = "stop_date_time"
    Cdr.__config__.allow_population_by_field_name = True


async def _answer(send: Send, data: Any, *, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(data).encode()})


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    # py_ocpi reads its settings once, when it is imported.
    os.environ.update(OCPI_HOST=host, PROTOCOL="http", COUNTRY_CODE="NL", PARTY_ID="EMA")
    from py_ocpi.core.authentication.authenticator import Authenticator
    from py_ocpi.core.enums import ModuleID, RoleEnum
    from py_ocpi.main import get_application
    from py_ocpi.modules.versions.enums import VersionNumber

    version = VersionNumber(sys.argv[1])
    let_a_cdr_stop()
    platform = Platform(f"http://{host}/ocpi/versions", version.value)
    modules = ["credentials", "locations", "sessions", "cdrs", "tariffs", "tokens", "commands"]
    app = get_application(
        version_numbers=[version],
        roles=[RoleEnum.emsp],
        crud=platform,
        modules=[ModuleID(module) for module in modules],
        authenticator=platform.authenticator(Authenticator),
    )
    config = uvicorn.Config(Recorder(app, platform), log_level="warning", access_log=False, lifespan="off")
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
