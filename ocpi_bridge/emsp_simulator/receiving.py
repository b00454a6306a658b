"""The partner's ears: its OCPI endpoints, which judge every request, write it into the book and answer."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from ocpi_bridge.emsp_simulator.answers import Answer, NotSo
from ocpi_bridge.emsp_simulator.book import Allow, Authorization, Object, Received
from ocpi_bridge.emsp_simulator.cpo import TowardsCpo
from ocpi_bridge.emsp_simulator.judge import CONFIGURATION, Judge, Path, place, same, subject
from ocpi_bridge.emsp_simulator.rules import parse_time

# What the version details list, and our part in it.
MODULES_211 = {
    "credentials": "SENDER",
    "locations": "RECEIVER",
    "sessions": "RECEIVER",
    "cdrs": "RECEIVER",
    "tariffs": "RECEIVER",
    "tokens": "SENDER",
    "commands": "SENDER",
}
MODULES = MODULES_211 | {"chargingprofiles": "SENDER"}
PROFILE_RESULTS = {"GET": "ActiveChargingProfileResult", "PUT": "ChargingProfileResult", "DELETE": "ClearProfileResult"}
SETTLE_TIMEOUT_S = 2.0
LEVELS = {3: "Location", 4: "EVSE", 5: "Connector"}  # by number of path segments


class Receivers:
    """Handlers are found by (module, method) and get the path segments behind the module, percent-decoded (TR-36)."""

    def __init__(self, emsp: TowardsCpo) -> None:
        self._emsp = emsp
        self._judge = Judge(emsp)
        self._handlers: dict[tuple[str, str], Callable[[Received, Path], Awaitable[Answer]]] = {
            ("versions", "GET"): self._versions,
            (emsp.version, "GET"): self._details,
            ("credentials", "GET"): self._get_credentials,
            ("credentials", "POST"): self._post_credentials,
            ("credentials", "PUT"): self._put_credentials,
            ("credentials", "DELETE"): self._delete_credentials,
            ("locations", "GET"): self._get_location,
            ("locations", "PUT"): self._put_location,
            ("locations", "PATCH"): self._patch_location,
            ("sessions", "GET"): self._get_session,
            ("sessions", "PUT"): self._put_session,
            ("sessions", "PATCH"): self._patch_session,
            ("cdrs", "GET"): self._get_cdr,
            ("cdrs", "POST"): self._post_cdr,
            ("tariffs", "GET"): self._get_tariff,
            ("tariffs", "PUT"): self._put_tariff,
            ("tariffs", "DELETE"): self._delete_tariff,
            ("tokens", "GET"): self._list_tokens,
            ("tokens", "POST"): self._authorize,
            ("commands", "POST"): self._command_result,
            ("chargingprofiles", "POST"): self._profile_result,
            ("chargingprofiles", "PUT"): self._active_profile,
        }

    async def answer(self, request: Received) -> Answer:
        module, path = place(request.path)
        token = self._judge.token_of(request)
        if token in self._emsp.inbound:
            self._emsp.superseded = None
        older = self._emsp.invitations | {self._emsp.superseded}
        if token is None or token not in self._emsp.inbound | (older if module in CONFIGURATION else set()):
            self._emsp.complain(subject(request), "unknown token (TR-07)")
            return Answer(http=401, code=2001, message="Unknown token")
        handler = self._handlers.get((module, request.method))
        if handler is None:
            known = any(name == module for name, _ in self._handlers)
            return Answer(http=405 if known else 404, code=2000, message="No such interface")
        try:
            if module not in CONFIGURATION:
                await self._end_of_registration()
            self._judge.judge(request, self._judge.headers_problems(request, module))
            return await handler(request, path)
        except NotSo as no:
            self._emsp.complain(subject(request), str(no))
            return no.answer
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._emsp.complain(subject(request), f"cannot be read: {error!r}")
            return Answer(code=2001, message="The object cannot be read")

    async def _end_of_registration(self) -> None:
        """A CPO may push as soon as it has answered, which is before we have read its answer and know its parties."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S), self._emsp.registering:
                pass

    # ---- configuration ----------------------------------------------------------------------------------------------

    async def _versions(self, _request: Received, _path: Path) -> Answer:
        return Answer(data=[{"version": self._emsp.version, "url": self._emsp.root}])

    async def _details(self, _request: Received, _path: Path) -> Answer:
        endpoints = [
            {"identifier": module, "url": f"{self._emsp.root}/{module}"} | ({} if self._emsp.is_211 else {"role": role})
            for module, role in (MODULES_211 if self._emsp.is_211 else MODULES).items()
        ]
        return Answer(data={"version": self._emsp.version, "endpoints": endpoints})

    async def _get_credentials(self, request: Received, _path: Path) -> Answer:
        return Answer(data=self._emsp.credentials(str(self._judge.token_of(request))))

    async def _post_credentials(self, request: Received, _path: Path) -> Answer:
        token = str(self._judge.token_of(request))
        if self._emsp.registered and token != self._emsp.superseded:
            raise NotSo(405, 2000, "Already registered (CR-07)")
        answer = await self._adopt(request)
        self._emsp.invitations.discard(token)  # CR-05
        return answer

    async def _put_credentials(self, request: Received, _path: Path) -> Answer:
        if not self._emsp.registered:
            raise NotSo(405, 2000, "Not registered (CR-09)")
        return await self._adopt(request)

    async def _adopt(self, request: Received) -> Answer:
        """Reads the CPO's versions with the token it gave before answering with a new one of ours (CR-03, CR-04)."""
        body = self._judge.object(request, "Credentials")
        if not await self._emsp.adopt(body):
            raise NotSo(200, 3001, "Unable to use the client's API")
        token = self._emsp.new_inbound_token()
        self._emsp.inbound = {token}
        self._emsp.superseded = self._judge.token_of(request) if self._emsp.overlap else None
        return Answer(data=self._emsp.credentials(token))

    async def _delete_credentials(self, _request: Received, _path: Path) -> Answer:
        if not self._emsp.registered:
            raise NotSo(405, 2000, "Not registered (CR-09)")
        self._emsp.forget_cpo()
        return Answer()

    # ---- locations --------------------------------------------------------------------------------------------------

    async def _get_location(self, request: Received, path: Path) -> Answer:
        _, entry = self._find_part(request, path)
        return Answer(data=entry)

    async def _put_location(self, request: Received, path: Path) -> Answer:
        kind = LEVELS.get(len(path))
        if kind is None:
            raise NotSo(404, 2000, "No such path")
        body = self._judge.object(request, kind)
        self._judge.owned(path[:2])
        identity = "id" if kind != "EVSE" else "uid"
        self._judge.judge(
            request, list(same(body, {identity: path[-1]} | (self._judge.owner(path) if kind == "Location" else {})))
        )
        if kind == "Location":
            known = self._emsp.locations.find(*path)
            self._judge.judge(request, list(self._judge.older(body, known)))
            self._emsp.locations.put(body, *path)
            return Answer(http=200 if known else 201)
        parents, _ = self._find_part(request, path[:-1])
        siblings = parents[-1].setdefault("evses" if kind == "EVSE" else "connectors", [])
        index = _index(siblings, identity, path[-1])
        self._judge.judge(request, list(self._judge.older(body, None if index is None else siblings[index])))
        if index is None:
            siblings.append(body)
        else:
            siblings[index] = body
        self._touch(parents, body)
        return Answer(http=201 if index is None else 200)

    async def _patch_location(self, request: Received, path: Path) -> Answer:
        kind = LEVELS.get(len(path))
        if kind is None:
            raise NotSo(404, 2000, "No such path")
        self._judge.owned(path[:2])
        changes = self._judge.object(request, kind, partial=True)
        parents, entry = self._find_part(request, path)
        self._judge.judge(request, list(self._judge.older(changes, entry)))
        entry.update(changes)
        self._touch(parents, changes)
        return Answer()

    def _find_part(self, request: Received, path: Path) -> tuple[list[Object], Object]:
        """The Location, EVSE or Connector at `path`, and the list from its Location down to itself."""
        found = self._emsp.locations.find(*path[:3])
        chain = [found] if found else []
        for segment, (children, identity) in zip(path[3:], (("evses", "uid"), ("connectors", "id")), strict=False):
            index = _index(chain[-1].get(children, []), identity, segment) if chain else None
            chain = [*chain, chain[-1][children][index]] if index is not None else []
        if not chain or not 3 <= len(path) <= 5:
            raise NotSo(404, 2003, f"Unknown location {'/'.join(path)}")
        return chain, chain[-1]

    def _touch(self, parents: list[Object], child: Mapping[str, Any]) -> None:
        """A change below raises last_updated above (LO-04)."""
        for parent in parents:
            if "last_updated" in child and self._emsp.newer(child["last_updated"], parent["last_updated"]):
                parent["last_updated"] = child["last_updated"]

    # ---- sessions, cdrs, tariffs ------------------------------------------------------------------------------------

    async def _get_session(self, _request: Received, path: Path) -> Answer:
        return Answer(data=_found(self._emsp.sessions.find(*path), path))

    async def _put_session(self, request: Received, path: Path) -> Answer:
        body = self._judge.whole(request, "Session", path)
        known = self._emsp.sessions.find(*path)
        wrong = [*self._judge.older(body, known), *self._judge.not_ours(body)]
        if known:
            wrong += _session_changes(known, body)
        self._judge.judge(request, wrong)
        self._emsp.sessions.put(body, *path)
        return Answer(http=200 if known else 201)

    async def _patch_session(self, request: Received, path: Path) -> Answer:
        self._judge.owned(path[:2])
        changes = self._judge.object(request, "Session", partial=True)
        known = _found(self._emsp.sessions.find(*path), path)
        old, new = known.get("charging_periods", []), changes.pop("charging_periods", [])
        wrong = [*self._judge.older(changes, known), *_session_changes(known, changes)]
        sent = {period["start_date_time"] for period in old}
        again = [period["start_date_time"] for period in new if period["start_date_time"] in sent]
        wrong += [f"period {start} was sent before (SE-07)" for start in again]
        self._judge.judge(request, wrong)
        known.update(changes)
        if new:
            known["charging_periods"] = [*old, *new]  # SE-05: appended
        return Answer()

    async def _get_cdr(self, _request: Received, path: Path) -> Answer:
        return Answer(data=_found(next((cdr for cdr in self._emsp.cdrs if path == (cdr["id"],)), None), path))

    async def _post_cdr(self, request: Received, path: Path) -> Answer:
        if path:
            raise NotSo(404, 2000, "CDRs are posted to the endpoint itself (CD-02)")
        body = self._judge.object(request, "CDR")
        if not self._emsp.is_211:
            self._judge.owned((body["country_code"], body["party_id"]))
        known = next((cdr for cdr in self._emsp.cdrs if cdr["id"].casefold() == body["id"].casefold()), None)
        wrong = list(self._judge.not_ours(body))
        if known is not None and known != body:
            wrong.append("a CDR that was sent is changed (CD-06)")
        self._judge.judge(request, wrong)
        if known is None:
            self._emsp.cdrs.append(body)
        location = f"{self._emsp.root}/cdrs/{quote(body['id'], safe='')}"
        return Answer(http=201 if known is None else 200, headers={"Location": location})

    async def _get_tariff(self, _request: Received, path: Path) -> Answer:
        return Answer(data=_found(self._emsp.tariffs.find(*path), path))

    async def _put_tariff(self, request: Received, path: Path) -> Answer:
        body = self._judge.whole(request, "Tariff", path)
        known = self._emsp.tariffs.find(*path)
        self._judge.judge(request, list(self._judge.older(body, known)))
        self._emsp.tariffs.put(body, *path)
        return Answer(http=200 if known else 201)

    async def _delete_tariff(self, request: Received, path: Path) -> Answer:
        self._judge.owned(path[:2])
        if not self._emsp.tariffs.remove(*path):
            raise NotSo(404, 2000, "No such tariff")
        return Answer()

    # ---- tokens and commands, where we are the sender ---------------------------------------------------------------

    async def _list_tokens(self, request: Received, path: Path) -> Answer:
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        try:
            offset, limit = int(query.get("offset", 0)), int(query.get("limit", self._emsp.page_limit))
            since, until = (parse_time(query[name]) if name in query else None for name in ("date_from", "date_to"))
        except ValueError:
            raise NotSo(200, 2001, "A parameter cannot be read (PG-17)") from None
        if path or offset < 0 or limit < 1:
            raise NotSo(200, 2001, "limit is at least 1 and offset 0")
        limit = min(limit, self._emsp.page_limit)
        matching = [
            token
            for token in self._emsp.tokens.values()
            if (since is None or parse_time(token["last_updated"]) >= since)
            and (until is None or parse_time(token["last_updated"]) < until)
        ]
        headers = {"X-Total-Count": str(len(matching)), "X-Limit": str(self._emsp.page_limit)}
        if offset + limit < len(matching):
            following = urlencode(query | {"offset": str(offset + limit), "limit": str(limit)})
            headers["Link"] = f'<{self._emsp.root}/tokens?{following}>; rel="next"'
        return Answer(data=matching[offset : offset + limit], headers=headers)

    async def _authorize(self, request: Received, path: Path) -> Answer:
        if len(path) != 2 or path[1] != "authorize":
            raise NotSo(404, 2000, "No such path")
        asked = self._judge.object(request, "LocationReferences") if request.raw else None
        self._judge.judge(request, [] if asked else ["no LocationReferences (TK-37)"])
        kind = parse_qs(request.query).get("type", ["RFID"])[0]
        token = self._emsp.tokens.get((path[0].casefold(), kind))
        told = self.authorization_for(path[0])
        if token is None or told.allowed is Allow.UNKNOWN_TOKEN:
            return Answer(http=404, code=2000 if self._emsp.is_211 else 2004, message="Unknown token")
        info: Object = {"allowed": told.allowed.value} | ({} if self._emsp.is_211 else {"token": token})
        if asked:
            info["location"] = asked | ({} if told.evse_uids is None else {"evse_uids": list(told.evse_uids)})
        if told.reference is not None and not self._emsp.is_211:
            info["authorization_reference"] = told.reference
        if told.info is not None:
            info["info"] = {"language": "en", "text": told.info}
        return Answer(data=info)

    def authorization_for(self, uid: str) -> Authorization:
        return self._emsp.authorizations.get(uid, self._emsp.authorization)

    async def _command_result(self, request: Received, path: Path) -> Answer:
        uid = path[-1]
        if len(path) != 2 or uid not in self._emsp.commands:
            raise NotSo(404, 2000, "No such command was sent")
        body = self._judge.object(request, "CommandResponse" if self._emsp.is_211 else "CommandResult")
        taken_back = body.get("result") == "CANCELED_RESERVATION"  # CM-45
        wrong = ["the result came twice (CM-04)"] if uid in self._emsp.command_results and not taken_back else []
        if self._emsp.commands[uid] not in ("", "ACCEPTED"):
            wrong.append(f"a result after {self._emsp.commands[uid]} (CM-04)")
        self._judge.judge(request, wrong)
        self._emsp.command_results[uid] = body
        return Answer()

    # ---- charging profiles, where we are the sender -----------------------------------------------------------------

    async def _profile_result(self, request: Received, path: Path) -> Answer:
        """At chargingprofiles/results/{method}/{uid}, as our own requests say."""
        uid = path[-1]
        if len(path) != 3 or uid not in self._emsp.commands:
            raise NotSo(404, 2000, "No such request was sent")
        body = self._judge.object(request, PROFILE_RESULTS[path[1]])
        wrong = ["the result came twice (CP-05)"] if uid in self._emsp.profile_results else []
        if self._emsp.commands[uid] not in ("", "ACCEPTED"):
            wrong.append(f"a result after {self._emsp.commands[uid]} (CP-05)")
        self._judge.judge(request, wrong)
        self._emsp.profile_results[uid] = body
        return Answer()

    async def _active_profile(self, request: Received, path: Path) -> Answer:
        if len(path) != 1:
            raise NotSo(404, 2000, "No such path")
        body = self._judge.object(request, "ActiveChargingProfile")
        self._emsp.active_profiles.setdefault(path[0], []).append(body)
        return Answer()


def _index(entries: list[Object], identity: str, value: str) -> int | None:
    return next((i for i, entry in enumerate(entries) if str(entry[identity]).casefold() == value.casefold()), None)


def _found(entry: Object | None, path: Path) -> Object:
    if entry is None:
        raise NotSo(404, 2000, f"Unknown object {'/'.join(path)}")
    return entry


def _session_changes(known: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    wrong = []
    if "kwh" in new and new["kwh"] < known["kwh"]:
        wrong.append(f"kwh falls from {known['kwh']} to {new['kwh']} (SE-19)")
    if known["status"] == "COMPLETED" and any(known.get(name) != value for name, value in new.items()):
        wrong.append("a COMPLETED session changes (SE-11)")
    return wrong
