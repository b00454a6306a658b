"""A platform is walked from its versions URL through every module it lists, as its partner would, and nothing is written."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ocpi_bridge.checker import envelope
from ocpi_bridge.checker.asking import Answer, Asker, Enough, Party, routing, with_query
from ocpi_bridge.checker.fields import tables
from ocpi_bridge.checker.lists import ALL_TIMES, Listed, Lists
from ocpi_bridge.checker.objects import across, judge, name_of
from ocpi_bridge.checker.report import Level, Report, kind_of
from ocpi_bridge.emsp_wire import join
from ocpi_bridge.outbound import Guarded

KNOWN_VERSIONS = ("2.2.1", "2.1.1")  # the first that the platform offers is checked

# What a module's list holds.
LISTS = {
    "tariffs": "Tariff",
    "locations": "Location",
    "sessions": "Session",
    "cdrs": "CDR",
    "tokens": "Token",
    "hubclientinfo": "ClientInfo",
}
# What we own at the receiver of a module: {endpoint}/{country_code}/{party_id}/{id}.
OWNED = ("locations", "sessions", "tariffs", "tokens")
HEADERS = {False: "in Base64", True: "without Base64"}


class NothingToCheck(Exception):
    """The check cannot begin; its text says why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`total_s` ends the whole check, `timeout_s` and `max_bytes` one answer."""

    max_requests: int = 500
    max_pages: int = 20
    timeout_s: float = 10.0
    max_bytes: int = 10 * 2**20
    total_s: float = 300.0


async def check(
    guarded: Guarded,
    url: str,
    token: str,
    *,
    party: Party,
    version: str | None = None,
    limits: Limits = Limits(),
) -> Report:
    """Walks the platform behind the versions URL `url` as `party` with the token that it gave us.

    Raises NothingToCheck when `url` may not be called, does not answer, does not take the token or offers none of
    KNOWN_VERSIONS. A limit that ends the check early stands in the report's `unread`. The report never holds the token.
    """
    report = Report(secrets=(token,))
    ask = Asker(
        guarded,
        token,
        max_requests=limits.max_requests,
        timeout_s=limits.timeout_s,
        max_bytes=limits.max_bytes,
    )
    try:
        async with asyncio.timeout(limits.total_s):
            await _Walk(ask, report, party, limits).walk(url, version)
    except TimeoutError:
        report.unread.append(f"the rest, after {limits.total_s:g} s")
    except Enough:
        report.unread.append(f"the rest, after {limits.max_requests} requests")
    report.requests = ask.asked
    return report


class _Walk:
    def __init__(self, ask: Asker, report: Report, party: Party, limits: Limits) -> None:
        self._ask = ask
        self._report = report
        self._party = party
        self._limits = limits
        self._version = ""

    async def walk(self, url: str, wanted: str | None) -> None:
        offered = await self._versions(url, wanted)
        version = next((v for v in (KNOWN_VERSIONS if wanted is None else (wanted,)) if v in offered), None)
        if version is None:
            if self._report.count(Level.MUST):
                return
            raise NothingToCheck(
                f"the platform offers {', '.join(offered) or 'no version'}, not {wanted or 'one we know'}"
            )
        self._version = self._report.version = version
        endpoints = await self._details(offered[version])
        roles = await self._credentials(endpoints)
        await self._strangers(url, endpoints)
        read = await self._modules(endpoints)
        for id, module, name, seen in across(
            {module: listed.entries for module, listed in read.items() if listed.whole}
        ):
            self._report.add(id, f"{module} {name}", seen, kind=module)
        await self._routes(roles, endpoints, read)

    # ---- configuration modules ---------------------------------------------------------------------------------------

    async def _versions(self, url: str, wanted: str | None) -> dict[str, str]:
        """The URLs of the versions that are offered, and which writing of the token is taken."""
        answer = await self._ask.get(url)
        if answer.refused:
            raise NothingToCheck(answer.failure)
        plain = await self._ask.get(url, raw=True)
        if not answer.ok and plain.ok:
            answer = plain
            self._ask.raw = True
        if answer.status is None:
            raise NothingToCheck(f"the versions URL does not answer: {answer.failure}")
        if answer.status == 401:
            raise NothingToCheck("the versions URL does not take the token: HTTP 401")
        self._about("versions", answer)
        self._say("versions", envelope.cardinality(answer, list))
        if url.casefold().startswith("http:"):
            self._report.add("TR-01", "versions", "plain http")
        if not answer.ok:
            self._report.add("VE-01", "versions", str(answer))
            return {}
        other = await self._ask.get(url[:-1] if url.endswith("/") else f"{url}/")
        if other.status is not None and other.status != answer.status:
            self._report.add("TR-31", "versions", f"{other} when the slash at the end is the other way")
        offered: dict[str, str] = {}
        for entry in answer.data if isinstance(answer.data, list) else ():
            self._judge("versions", entry, "Version", "2.2.1")
            name, at = (entry.get("version"), entry.get("url")) if isinstance(entry, dict) else (None, None)
            if isinstance(name, str) and isinstance(at, str):
                if name in offered:
                    self._report.add("VE-01", "versions", f"{name} twice")
                offered.setdefault(name, at)
        for version, due, taken in (("2.2.1", "TR-03", not self._ask.raw), ("2.1.1", "TR-04", plain.ok)):
            alone = set(offered) & {"2.2.1", "2.1.1"} == {version}
            if (alone or version == wanted) and not taken:
                self._report.add(due, "versions", f"the token {HEADERS[due == 'TR-04']} is not taken")
        return offered

    async def _details(self, url: str) -> dict[tuple[str, str], str]:
        """The endpoints by (module, role); in 2.1.1 the role is ""."""
        answer = await self._ask.get(url)
        if self._version == "2.1.1" and not self._ask.raw and not answer.ok:
            self._ask.raw = True
            answer = await self._ask.get(url)
        where = f"{self._version} details"
        self._about(where, answer)
        self._say(where, envelope.cardinality(answer, dict))
        if not answer.ok or not isinstance(answer.data, dict):
            self._report.add("VE-02", where, str(answer))
            return {}
        self._judge(where, answer.data, "VersionDetails", self._version)
        if answer.data.get("version") != self._version:
            self._report.add("VE-02", where, f"version {answer.data.get('version')}")
        found: dict[tuple[str, str], str] = {}
        entries = answer.data.get("endpoints")
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
                continue
            identifier, role = str(entry.get("identifier")), str(entry.get("role", ""))
            if identifier not in tables(self._version)["enums"]["ModuleID"]:
                self._report.add("VE-06", where, identifier)
            key = (identifier, "" if self._version == "2.1.1" or identifier == "credentials" else role)
            if key in found:
                self._report.add("VE-02", where, f"{identifier} {role} twice")
            found.setdefault(key, entry["url"])
        if ("credentials", "") not in found:
            self._report.add("VE-03", where, "none")
        return found

    async def _credentials(self, endpoints: Mapping[tuple[str, str], str]) -> list[Party]:
        """The parties of the platform."""
        url = endpoints.get(("credentials", ""))
        if url is None:
            return []
        answer = await self._ask.get(url)
        self._about("credentials", answer)
        self._say("credentials", envelope.cardinality(answer, dict))
        if not answer.ok or not isinstance(answer.data, dict):
            self._report.add("CR-11", "credentials", str(answer))
            return []
        self._judge("credentials", answer.data, "Credentials", self._version)
        if answer.data.get("token") not in self._report.secrets:
            self._report.add("CR-11", "credentials .token", "not the token that we use")
        roles = answer.data.get("roles", [answer.data])
        parties = [
            (role["country_code"], role["party_id"])
            for role in (roles if isinstance(roles, list) else ())
            if isinstance(role, dict) and all(isinstance(role.get(n), str) for n in ("country_code", "party_id"))
        ]
        return list(dict.fromkeys(parties))

    async def _strangers(self, url: str, endpoints: Mapping[tuple[str, str], str]) -> None:
        """TR-07, at the versions and at one module: to a token that nobody has, and to none."""
        module = next((at for (name, role), at in endpoints.items() if name in LISTS and role != "RECEIVER"), None)
        for where, at in (("versions", url), ("a list", module)):
            for what, token in (("an unknown token", secrets.token_urlsafe(24)), ("no token", "")):
                answer = await self._ask.get(at, token=token) if at is not None else None
                if answer is None or answer.status is None:
                    continue
                if answer.status != 401:
                    self._report.add("TR-07", f"{where}, {what}", str(answer))
                for id, seen in (*envelope.envelope(answer), *envelope.refusal(answer)):
                    self._report.add(id, f"{where}, {what}", seen, level=Level.SHOULD)

    # ---- functional modules ------------------------------------------------------------------------------------------

    async def _modules(self, endpoints: Mapping[tuple[str, str], str]) -> dict[str, Listed]:
        read: dict[str, Listed] = {}
        if await self._is_invitation(endpoints):
            return read
        lists = Lists(self._ask, self._report, self._version, max_pages=self._limits.max_pages)
        senders = await self._senders(endpoints)
        for module, kind in LISTS.items():
            if module in senders and (listed := await lists.read(module, kind, senders[module])) is not None:
                read[module] = listed
        if "locations" in read:
            await self._one_by_one(senders["locations"], read["locations"].entries)
        for module in OWNED:
            url = endpoints.get((module, "RECEIVER")) or ("" if module in senders else endpoints.get((module, "")))
            if url:
                await self._unknown(module, join(url, *self._party, f"no-such-{secrets.token_hex(6)}"))
        return read

    async def _is_invitation(self, endpoints: Mapping[tuple[str, str], str]) -> bool:
        """A token A opens no module (TR-08); said once, not of every module."""
        lists = [url for (module, role), url in endpoints.items() if module in LISTS and role != "RECEIVER"]
        for url in lists:
            if (await self._ask.get(with_query(url, date_from=ALL_TIMES))).status != 401:
                return False
        if lists:
            self._report.add("TR-08", "modules", "HTTP 401 from every list, though versions can be read")
            self._report.shut = True
        return bool(lists)

    async def _senders(self, endpoints: Mapping[tuple[str, str], str]) -> dict[str, str]:
        """The lists. Details of 2.1.1 do not say of which modules: those that answer with one."""
        if self._version != "2.1.1":
            return {module: url for (module, role), url in endpoints.items() if role == "SENDER" and module in LISTS}
        answers = {
            module: await self._ask.get(with_query(url, date_from=ALL_TIMES))
            for (module, _), url in endpoints.items()
            if module in LISTS
        }
        lists = {module: endpoints[module, ""] for module, answer in answers.items() if answer.ok}
        if answers and not lists:
            self._report.add("PG-15", "modules", "no module lists anything")
        return lists

    async def _one_by_one(self, url: str, locations: Sequence[Any]) -> None:
        """LO-01 at the first location that has a connector; then an id that is nobody's, and ids in the other case."""
        for location in locations:
            for evse in (location.get("evses") or ()) if isinstance(location, dict) else ():
                connectors = evse.get("connectors") if isinstance(evse, dict) else None
                if not isinstance(connectors, list) or not connectors or not isinstance(connectors[0], dict):
                    continue
                ids = [location.get("id"), evse.get("uid"), connectors[0].get("id")]
                if all(isinstance(id, str) and id for id in ids):
                    await self._parts(url, ids, location, evse, connectors[0])
                    await self._unknown("locations", join(url, f"no-such-{secrets.token_hex(6)}"))
                    await self._unknown("locations", join(url, ids[0], f"no-such-{secrets.token_hex(6)}"))
                    return
        await self._unknown("locations", join(url, f"no-such-{secrets.token_hex(6)}"))

    async def _parts(self, url: str, ids: Sequence[str], *parts: Mapping[str, Any]) -> None:
        for depth, (part, kind) in enumerate(zip(parts, ("Location", "EVSE", "Connector"), strict=True), start=1):
            answer = await self._ask.get(join(url, *ids[:depth]))
            where = f"locations/{'/'.join(ids[:depth])}"
            self._about(where, answer)
            self._say(where, envelope.cardinality(answer, dict))
            if not answer.ok:
                self._report.add("LO-01", where, str(answer))
            elif _differs(answer.data, part):
                self._report.add("LO-01", where, f"another {kind} than in the list, of the same last_updated")
        if self._version != "2.1.1" and ids[0].swapcase() != ids[0]:
            answer = await self._ask.get(join(url, ids[0].swapcase()))
            if not answer.ok:
                self._report.add("TY-04", f"locations/{ids[0].swapcase()}", str(answer))

    async def _unknown(self, module: str, url: str) -> None:
        """TR-20, TR-26: there is nothing at `url`."""
        answer = await self._ask.get(url)
        where = f"{module}, an unknown id"
        self._about(where, answer)
        if answer.status is None:
            self._report.add("TR-19", where, str(answer))
        elif answer.status >= 500:
            self._report.add("LO-02" if module == "locations" else "TR-19", where, str(answer))
        elif answer.status != 404:
            self._report.add("TR-20", where, str(answer))
        if answer.status is not None and answer.status < 500:
            self._say(where, envelope.refusal(answer))

    # ---- routing -----------------------------------------------------------------------------------------------------

    async def _routes(
        self, roles: Sequence[Party], endpoints: Mapping[tuple[str, str], str], read: Mapping[str, Listed]
    ) -> None:
        """One list, addressed to each party of the platform in turn (RT-03, RT-11)."""
        module = next((module for module in ("locations", "tokens", "tariffs") if module in read), None)
        if self._version == "2.1.1" or module is None:
            return
        for asked in roles[:5]:
            answer = await self._ask.get(endpoints[module, "SENDER"], headers=routing(self._party, asked))
            where = f"{module}, to {'-'.join(asked)}"
            if not answer.ok or not isinstance(answer.data, list):
                self._report.add("PG-15", where, str(answer))
                continue
            self._say(where, envelope.routed(answer, self._party, asked), kind=module)
            for entry in answer.data:
                owner = (entry.get("country_code"), entry.get("party_id")) if isinstance(entry, dict) else None
                if owner is not None and tuple(map(_folded, owner)) != tuple(map(_folded, asked)):
                    self._report.add("RT-11", f"{where}: {name_of(entry)}", f"is of {owner[0]}-{owner[1]}", kind=module)

    # ---- what is said of an answer -----------------------------------------------------------------------------------

    def _about(self, where: str, answer: Answer) -> None:
        self._say(where, envelope.envelope(answer))
        if self._version:
            self._say(where, envelope.ids(answer, self._version))
        if where in ("versions", "credentials") or where.endswith("details"):
            self._say(where, envelope.unrouted(answer))

    def _judge(self, where: str, entry: Any, kind: str, version: str) -> None:
        for wrong in judge(entry, kind, version):
            self._report.add(wrong.id, f"{where} {wrong.path}", wrong.seen, kind=f"{where} {kind_of(wrong.path)}")

    def _say(self, where: str, said: Any, *, kind: str | None = None) -> None:
        for id, seen in said:
            self._report.add(id, where, seen, kind=kind)


def _differs(one: Any, listed: Mapping[str, Any]) -> bool:
    """False when it may have changed since it was listed."""
    return isinstance(one, dict) and one != listed and one.get("last_updated") == listed.get("last_updated")


def _folded(value: object) -> str:
    return str(value).casefold()
