"""The partner's voice: what an eMSP asks of a CPO, each answer judged as strictly as what the CPO sends by itself."""

import base64
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from ocpi_bridge.emsp_simulator.answers import exact_json
from ocpi_bridge.emsp_simulator.book import Book, Object, Party
from ocpi_bridge.emsp_simulator.rules import DATE_TIME, problems, read_json

SENDER_211 = ("locations", "sessions", "cdrs", "tariffs")  # of the CPO's modules in 2.1.1, which does not tell them
KINDS = {"locations": "Location", "sessions": "Session", "cdrs": "CDR", "tariffs": "Tariff"}
NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
MAX_PAGES = 1000
MESSAGE_IDS = ("X-Request-ID", "X-Correlation-ID")
PREFERENCES_ANSWERS = (
    *("ACCEPTED", "DEPARTURE_REQUIRED", "ENERGY_NEED_REQUIRED", "NOT_POSSIBLE", "PROFILE_TYPE_NOT_SUPPORTED"),
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`status_code` 0: there was no envelope."""

    http_status: int
    status_code: int
    status_message: str
    data: Any
    headers: Mapping[str, str] = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.http_status < 300 and 1000 <= self.status_code < 2000


@dataclass(frozen=True, kw_only=True)
class Command:
    """`result` is the CPO's immediate answer; what became of it comes to `command_results[uid]`."""

    uid: str
    result: str
    timeout_s: int | None
    reply: Reply


class CpoRefused(Exception):
    """The CPO did not do what a registration or pull needs; carries its answer."""

    def __init__(self, step: str, reply: Reply) -> None:
        super().__init__(f"{step}: HTTP {reply.http_status}, OCPI {reply.status_code} {reply.status_message}")
        self.reply = reply


class TowardsCpo(Book):
    """The book, and what the partner says of its own accord. Calls that fail return their Reply; only `register`,
    `unregister` and `pull` raise, CpoRefused; all raise httpx.HTTPError when no answer comes within `timeout_s`."""

    def __init__(
        self, *, party: Party, name: str, strict: bool, page_limit: int, version: str, timeout_s: float
    ) -> None:
        super().__init__(party=party, name=name, strict=strict, page_limit=page_limit, version=version)
        self.base_url = ""
        self._http = httpx.AsyncClient(trust_env=False, timeout=timeout_s, follow_redirects=False)

    @property
    def versions_url(self) -> str:
        return f"{self.base_url}/versions"

    @property
    def root(self) -> str:
        """Of our modules."""
        return f"{self.base_url}/{self.version}"

    def _problems(self, kind: str, body: Any) -> list[str]:
        return list(problems(kind, body, version=self.version))

    # ---- registration -----------------------------------------------------------------------------------------------

    async def register(self, versions_url: str, token_a: str) -> Object:
        """Registers us at the CPO (CR-20 to CR-24) and returns its Credentials."""
        async with self.registering:
            return await self._register(versions_url, token_a)

    async def _register(self, versions_url: str, token_a: str) -> Object:
        await self._discover(versions_url, token_a)
        token_b = self.new_inbound_token()
        self.inbound.add(token_b)  # works before the POST: the CPO calls back during it (CR-22)
        url = self.cpo_endpoints[("credentials", "")]
        reply = await self.call("POST", url, self.credentials(token_b), token=token_a, configuration=True)
        if not reply.ok or not isinstance(reply.data, dict):
            self.inbound.discard(token_b)
            raise CpoRefused("POST credentials", reply)
        self.complain(f"answer to POST {url}", *self._problems("Credentials", reply.data))
        if reply.data["token"] in (token_a, token_b):
            self.complain(f"answer to POST {url}", "token C is not a fresh one (CR-04)")
        self._settle(reply.data)
        return dict(reply.data)

    async def unregister(self) -> Reply:
        """DELETE credentials (CR-10)."""
        reply = await self.call("DELETE", self.cpo_endpoints[("credentials", "")], configuration=True)
        if not reply.ok:
            raise CpoRefused("DELETE credentials", reply)
        self.forget_cpo()
        return reply

    async def adopt(self, credentials: Mapping[str, Any]) -> bool:
        """Takes a CPO's Credentials when its versions and details can be read with the token in them (CR-03)."""
        try:
            await self._discover(credentials["url"], credentials["token"])
        except (CpoRefused, httpx.HTTPError, KeyError):
            return False
        self._settle(credentials)
        return True

    def forget_cpo(self) -> None:
        self.registered = False
        self.inbound = set()
        self.superseded = None
        self.outbound = None
        self.cpo_parties = []
        self.cpo_endpoints = {}

    def credentials(self, token: str) -> Object:
        of_us = {"country_code": self.party[0], "party_id": self.party[1], "business_details": {"name": self.name}}
        roles = of_us if self.is_211 else {"roles": [{"role": "EMSP", **of_us}]}
        return {"token": token, "url": self.versions_url, **roles}

    def new_inbound_token(self) -> str:
        return secrets.token_urlsafe(24)

    async def _discover(self, versions_url: str, token: str) -> None:
        versions = await self.call("GET", versions_url, token=token, configuration=True)
        found = versions.data if versions.ok and isinstance(versions.data, list) else []
        details_url = next((entry["url"] for entry in found if entry["version"] == self.version), None)
        if details_url is None:
            raise CpoRefused(f"GET versions, no {self.version}", versions)
        details = await self.call("GET", details_url, token=token, configuration=True)
        if not details.ok or not isinstance(details.data, dict):
            raise CpoRefused("GET version details", details)
        endpoints: dict[tuple[str, str], str] = {}
        for entry in details.data["endpoints"]:
            self.complain(f"answer to GET {details_url}", *self._problems("Endpoint", entry))
            endpoints[(entry["identifier"], self._role(entry))] = entry["url"]
        if ("credentials", "") not in endpoints:
            raise CpoRefused("no credentials endpoint (VE-03)", details)
        self.cpo_endpoints = endpoints

    def _role(self, endpoint: Mapping[str, Any]) -> str:
        if endpoint["identifier"] == "credentials":
            return ""  # it means nothing (VE-03)
        if self.is_211:
            return "SENDER" if endpoint["identifier"] in SENDER_211 else "RECEIVER"
        return str(endpoint["role"])

    def _settle(self, credentials: Mapping[str, Any]) -> None:
        self.outbound = credentials["token"]
        roles = [credentials] if self.is_211 else credentials["roles"]
        self.cpo_parties = [(role["country_code"], role["party_id"]) for role in roles]
        self.registered = True

    # ---- tokens and commands ----------------------------------------------------------------------------------------

    async def push_token(self, token: Object) -> Reply:
        """PUT of one of our tokens, which is then listed too."""
        self.tokens[(token["uid"].casefold(), token["type"])] = token
        return await self.call("PUT", self._token_url(token), token)

    async def patch_token(self, uid: str, kind: str = "RFID", **changes: Any) -> Reply:
        """PATCH of the token's `changes` with a new last_updated, here and at the CPO."""
        token = self.tokens[(uid.casefold(), kind)]
        changes.setdefault("last_updated", self.now())
        token.update(changes)
        return await self.call("PATCH", self._token_url(token), changes)

    def _token_url(self, token: Object) -> str:
        owner = self.party if self.is_211 else (token["country_code"], token["party_id"])
        return f"{self._url('tokens', 'RECEIVER', *owner, token['uid'])}?type={token['type']}"

    async def start_session(
        self,
        token: Object,
        location_id: str,
        evse_uid: str | None = None,
        connector_id: str | None = None,
        authorization_reference: str | None = None,
    ) -> Command:
        where = {"location_id": location_id, "evse_uid": evse_uid, "connector_id": connector_id}
        body = {"token": token, **where, "authorization_reference": authorization_reference}
        return await self.command("START_SESSION", {name: value for name, value in body.items() if value is not None})

    async def stop_session(self, session_id: str) -> Command:
        return await self.command("STOP_SESSION", {"session_id": session_id})

    async def unlock_connector(self, location_id: str, evse_uid: str, connector_id: str) -> Command:
        where = {"location_id": location_id, "evse_uid": evse_uid, "connector_id": connector_id}
        return await self.command("UNLOCK_CONNECTOR", where)

    async def command(self, name: str, body: Object, response_url: str | None = None) -> Command:
        """Any command; its result is expected at us, or at `response_url`."""
        uid = uuid.uuid4().hex
        self.commands[uid] = ""
        own = f"{self.root}/commands/{name}/{uid}"
        url = self._url("commands", "RECEIVER", name)
        reply = await self.call("POST", url, {"response_url": response_url or own, **body})
        data = reply.data if isinstance(reply.data, dict) else {}
        if reply.ok:
            self.complain(f"answer to POST {url}", *self._problems("CommandResponse", reply.data))
        self.commands[uid] = data.get("result", "REJECTED")
        return Command(uid=uid, result=self.commands[uid], timeout_s=data.get("timeout"), reply=reply)

    async def set_profile(self, session_id: str, profile: Object, response_url: str | None = None) -> Command:
        return await self._profile("PUT", session_id, {"charging_profile": profile}, response_url)

    async def clear_profile(self, session_id: str, response_url: str | None = None) -> Command:
        return await self._profile("DELETE", session_id, None, response_url)

    async def active_profile(self, session_id: str, duration: int, response_url: str | None = None) -> Command:
        return await self._profile("GET", session_id, None, response_url, f"duration={duration}&")

    async def _profile(
        self, method: str, session_id: str, body: Object | None, response_url: str | None, query: str = ""
    ) -> Command:
        """Its result is expected at us, or at `response_url`; in a query that stands raw, as in the specification."""
        uid = uuid.uuid4().hex
        self.commands[uid] = ""
        answer_at = response_url or f"{self.root}/chargingprofiles/results/{method}/{uid}"
        url = self._url("chargingprofiles", "RECEIVER", session_id)
        if body is None:
            url = f"{url}?{query}response_url={answer_at}"
        else:
            body = {"response_url": answer_at, **body}
        reply = await self.call(method, url, body)
        data = reply.data if isinstance(reply.data, dict) else {}
        if reply.ok:
            self.complain(f"answer to {method} {url}", *self._problems("ChargingProfileResponse", reply.data))
        self.commands[uid] = data.get("result", "REJECTED")
        return Command(uid=uid, result=self.commands[uid], timeout_s=data.get("timeout"), reply=reply)

    async def set_preferences(self, session_id: str, preferences: Object) -> Reply:
        """`data` of the answer is the ChargingPreferencesResponse."""
        url = self._url("sessions", "SENDER", session_id, "charging_preferences")
        reply = await self.call("PUT", url, preferences)
        if reply.ok and reply.data not in PREFERENCES_ANSWERS:
            self.complain(f"answer to PUT {url}", f"{reply.data!r} is no ChargingPreferencesResponse (SE-30)")
        return reply

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def pull(self, module: str, **query: str | int) -> list[Object]:
        """All objects of a list, its Link headers followed to the end; `query`: date_from, date_to, offset, limit."""
        url: str | None = self._url(module, "SENDER")
        if query:
            url = f"{url}?{httpx.QueryParams(query)}"
        entries: list[Object] = []
        seen: set[str] = set()
        while url is not None and url not in seen and len(seen) < MAX_PAGES:
            seen.add(url)
            reply = await self.call("GET", url)
            if not reply.ok or not isinstance(reply.data, list):
                raise CpoRefused(f"GET {module}", reply)
            self.complain(f"answer to GET {url}", *self._page_problems(KINDS[module], reply))
            entries += reply.data
            following = NEXT.search(reply.headers.get("link", ""))
            url = following[1] if following else None
        if url is not None:
            self.complain(f"GET {module}", "the next links do not end (PG-07)")
        return entries

    async def fetch(self, module: str, *path: str) -> Reply:
        """GET of one object of the CPO's, as fetch("locations", location_id, evse_uid)."""
        return await self.call("GET", self._url(module, "SENDER", *path))

    def _page_problems(self, kind: str, reply: Reply) -> list[str]:
        headers = reply.headers
        found = [f"{name} is missing (PG-05, PG-06)" for name in ("x-total-count", "x-limit") if name not in headers]
        if headers.get("link") == "":
            found.append("an empty Link header (PG-07)")
        if len(reply.data) > int(headers.get("x-limit", len(reply.data))):
            found.append("more objects than X-Limit (PG-04)")
        return found + [text for entry in reply.data for text in self._problems(kind, entry)]

    # ---- one call ---------------------------------------------------------------------------------------------------

    def _url(self, module: str, role: str, *path: str) -> str:
        return "/".join([self.cpo_endpoints[(module, role)].rstrip("/"), *(quote(part, safe="") for part in path)])

    async def call(
        self,
        method: str,
        url: str,
        body: Object | None = None,
        *,
        token: str | None = None,
        configuration: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Any request to the CPO, with our token unless another is given, and `headers` over those that belong to it."""
        spoken = token or self.outbound or ""
        ids = {} if self.is_211 else {name: str(uuid.uuid4()) for name in MESSAGE_IDS}
        written = spoken if self.is_211 else base64.b64encode(spoken.encode()).decode()
        sent = {**ids, "Authorization": f"Token {written}"}
        if not configuration and self.cpo_parties and not self.is_211:
            sent["OCPI-to-country-code"], sent["OCPI-to-party-id"] = self.cpo_parties[0]
            sent["OCPI-from-country-code"], sent["OCPI-from-party-id"] = self.party
        content = None
        if body is not None:
            content = exact_json(body)
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        response = await self._http.request(method, url, headers=sent, content=content)
        try:
            envelope, odd = read_json(response.content)
        except ValueError:
            envelope, odd = None, []
        self.complain(f"answer to {method} {url}", *odd, *_answer_problems(response, envelope, sent))
        it = envelope if isinstance(envelope, dict) else {}
        return Reply(
            http_status=response.status_code,
            status_code=it.get("status_code", 0) if isinstance(it.get("status_code"), int) else 0,
            status_message=str(it.get("status_message", "")),
            data=it.get("data"),
            headers=response.headers,
        )


def _answer_problems(response: httpx.Response, envelope: Any, sent: Mapping[str, str]) -> list[str]:
    """What is wrong with how a CPO answered, whatever it said."""
    if not isinstance(envelope, dict):
        return [f"HTTP {response.status_code} without an OCPI envelope (TR-13)"]
    found = []
    if not isinstance(envelope.get("status_code"), int) or not 1000 <= envelope["status_code"] < 5000:
        found.append(f"status_code is {envelope.get('status_code')!r} (TR-13)")
    if not DATE_TIME.fullmatch(str(envelope.get("timestamp"))):
        found.append(f"timestamp is {envelope.get('timestamp')!r} (TR-13)")
    if "data" in envelope and envelope["data"] is None:
        found.append("data is null (TY-10)")
    if 300 <= response.status_code < 400:
        found.append(f"HTTP {response.status_code} (TR-31)")
    found += [
        f"{n} is not echoed (ID-01, ID-02)" for n in MESSAGE_IDS if n in sent and response.headers.get(n) != sent[n]
    ]
    if "OCPI-to-party-id" in sent and response.status_code != 401:
        for part in ("country-code", "party-id"):
            swapped = (response.headers.get(f"OCPI-from-{part}"), response.headers.get(f"OCPI-to-{part}"))
            if swapped != (sent[f"OCPI-to-{part}"], sent[f"OCPI-from-{part}"]):
                found.append(f"OCPI-from-{part}, OCPI-to-{part} are {swapped}, not swapped (RT-03)")
    return found
