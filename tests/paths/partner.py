"""A partner as the test sees it: py_ocpi's eMSP answers for it, and what py_ocpi has no client for is said in its name."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.paths import processes

PATIENCE_S = 30.0
EMSP = Path(__file__).with_name("emsp_app.py")

T = TypeVar("T")
OUR_ROLES = {"tokens": "RECEIVER", "commands": "RECEIVER"}  # where 2.1.1 names none


class Emsp:
    """The process. It answers for as many parties as are opened in it, in one version of OCPI."""

    def __init__(self, folder: Path, version: str = "2.2.1") -> None:
        self.version = version
        self.log = folder / "emsp.log"
        self._process = processes.start(["-P", str(EMSP), version], folder=folder, log=self.log, environ={})
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip().decode()  # empty when it could not start
        assert port, self.log.read_text()
        self.url = f"http://127.0.0.1:{port}"

    async def party(self, name: str, *, kind: str) -> "Partner":
        """`name` as in NL-EMA. `kind` A: it invites us with its token A. C: the token that it will hand us itself."""
        partner = Partner(self, name, secrets.token_hex(24))
        await partner.order("open", kind=kind, token=partner.token)
        return partner

    def end(self) -> None:
        processes.end(self._process, kindly=False)


class Partner:
    def __init__(self, emsp: Emsp, name: str, token: str) -> None:
        self.name = name
        self.country_code, self.party_id = name.split("-")
        self.token = token
        self.version = emsp.version
        self.versions_url = f"{emsp.url}/ocpi/versions"
        self.results_url = f"{emsp.url}/ocpi/emsp/{self.version}/commands"
        self._side_door = f"{emsp.url}/test/order"
        self._ours = ""  # the token by which it calls us
        self._endpoints: dict[tuple[str, str], str] = {}

    # ---- registration (K01) -----------------------------------------------------------------------------------------

    async def register(self, token_a: str, versions_url: str) -> None:
        """It registers at us. py_ocpi answers our call back; its client side does not exist, so this is it."""
        self._ours = token_a
        versions = await self.call("GET", versions_url)
        (details_url,) = [version["url"] for version in versions if version["version"] == self.version]
        details = await self.call("GET", details_url)
        self._learn(details)
        mine = await self.order("credentials")
        credentials = await self.call("POST", self._endpoints["credentials", ""], body=mine)
        self._ours = credentials["token"]

    async def registered_by_us(self) -> None:
        """After we registered at it: what py_ocpi got from us."""
        (given,) = [r["body"] for r in await self.requests("POST", "credentials")]
        self._ours = given["token"]
        (details_url,) = [v["url"] for v in await self.call("GET", given["url"]) if v["version"] == self.version]
        self._learn(await self.call("GET", details_url))

    def _learn(self, details: Mapping[str, Any]) -> None:
        for endpoint in details["endpoints"]:
            module = endpoint["identifier"]
            role = "" if module == "credentials" else endpoint.get("role", OUR_ROLES.get(module, "SENDER"))
            self._endpoints[module, role] = endpoint["url"]

    # ---- what it says to us -----------------------------------------------------------------------------------------

    async def answer(self, method: str, url: str, *, body: Any = None) -> httpx.Response:
        written = self._ours if self.version == "2.1.1" else b64encode(self._ours.encode()).decode()
        headers = {
            "Authorization": f"Token {written}",
            "X-Request-ID": secrets.token_hex(8),
            "X-Correlation-ID": secrets.token_hex(8),
        }
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_S) as client:
            return await client.request(method, url, headers=headers, json=body)

    async def call(self, method: str, url: str, *, body: Any = None) -> Any:
        """The data of an answer that must be a success."""
        response = await self.answer(method, url, body=body)
        told = response.json()
        assert (response.status_code, told["status_code"]) in ((200, 1000), (201, 1000)), (method, url, response.text)
        return told.get("data")

    def url(self, module: str, role: str, *parts: str) -> str:
        return "/".join([self._endpoints[module, role].rstrip("/"), *parts])

    async def push(self, card: Mapping[str, Any]) -> None:
        place = (self.country_code, self.party_id, card["uid"])
        await self.call("PUT", self.url("tokens", "RECEIVER", *place), body=card)

    async def list(self, module: str) -> Any:
        return await self.call("GET", f"{self.url(module, 'SENDER')}?date_from=2020-01-01T00:00:00Z")

    async def command(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The result that reached its response_url, after the CommandResponse said ACCEPTED."""
        where = secrets.token_hex(8)
        told = await self.call(
            "POST",
            self.url("commands", "RECEIVER", name),
            body={**body, "response_url": f"{self.results_url}/{where}"},
        )
        assert told["result"] == "ACCEPTED", told
        (result,) = await self.until("POST", f"commands/{where}")
        return dict(result["body"])

    # ---- what it was told -------------------------------------------------------------------------------------------

    async def order(self, do: str, **order: Any) -> Any:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_S) as client:
            response = await client.post(self._side_door, json={"do": do, "party": self.name, **order})
            return response.raise_for_status().json()

    async def issue(self, uid: str, *, whitelist: str = "ALWAYS", allowed: str = "ALLOWED", listed: bool = True) -> Any:
        """A driver's card; one that is not listed must be pushed to be known."""
        return await self.order("issue", uid=uid, whitelist=whitelist, allowed=allowed, listed=listed)

    async def close(self, closed: bool = True) -> None:
        """Its platform is under maintenance, or open again."""
        await self.order("close", closed=closed)

    async def slow(self, takes_s: float) -> None:
        """From now on so long passes before it does what it is asked."""
        await self.order("slow", takes_s=takes_s)

    async def requests(self, method: str, path: str = "") -> Sequence[dict[str, Any]]:
        """In the order in which py_ocpi answered them; no method means any."""
        everything = await self.order("requests")
        return [r for r in everything if method in ("", r["method"]) and path in r["path"]]

    async def session(self, status: str, **values: object) -> dict[str, Any]:
        """Its only session as the PUT and every PATCH together tell it, once it has this status and these values."""
        wanted = {"status": status, **values}

        def told(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
            state: dict[str, Any] = {}
            for request in requests:
                if "/sessions/" in request["path"]:
                    state = request["body"] if request["method"] == "PUT" else state | request["body"]
            return state

        everything = await self.until("", "/sessions/", lambda found: told(found) | wanted == told(found))
        assert len({request["path"] for request in everything}) == 1
        return told(everything)

    async def until(
        self, method: str, path: str, enough: Callable[[Sequence[dict[str, Any]]], object] = bool
    ) -> Sequence[dict[str, Any]]:
        """Such requests, once there are enough of them."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = await self.requests(method, path)
            if enough(found):
                return found
            assert time.monotonic() < until, f"{self.name} waits for {method} {path}, and has {_brief(found)}"
            await asyncio.sleep(0.03)

    async def cdr(self) -> dict[str, Any]:
        """The one that came."""
        (posted,) = await self.until("POST", "/cdrs")
        return dict(posted["body"])

    async def is_content(self) -> None:
        """py_ocpi took everything as it came."""
        everything = await self.order("requests")
        refused = [r for r in everything if (r["http_status"], r["status_code"]) != (200, 1000)]
        assert not refused, refused


def _brief(requests: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{r['method']} {r['path']} {r['http_status']} {r['body']}" for r in requests]
