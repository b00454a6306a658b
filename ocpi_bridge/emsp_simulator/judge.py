"""The partner's judgement: what is wrong with a request, as one book and its strictness see it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ocpi_bridge.emsp_simulator.answers import NotSo
from ocpi_bridge.emsp_simulator.book import Book, Object, Received
from ocpi_bridge.emsp_simulator.rules import problems

VERSIONS = ("2.2.1", "2.1.1")
CONFIGURATION = ("versions", *VERSIONS, "credentials")  # modules without routing headers (RT-02)
ROUTING = ("to-country-code", "to-party-id", "from-country-code", "from-party-id")
IDS = ("x-request-id", "x-correlation-id")
Path = tuple[str, ...]


class Judge:
    """Each method either finds nothing wrong, or complains; what cannot be taken, or a strict eMSP would not take, is
    raised as NotSo."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def token_of(self, request: Received) -> str | None:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if self._book.is_211:  # as it is (TR-04)
            return encoded if scheme == "Token" else None
        try:
            return base64.b64decode(encoded, validate=True).decode() if scheme == "Token" else None
        except (binascii.Error, ValueError):
            return None

    def judge(self, request: Received, wrong: list[str]) -> None:
        """Complains; refuses as well when strict."""
        if wrong and self._book.strict:
            raise NotSo(200, 2001, "; ".join(wrong))
        self._book.complain(subject(request), *wrong)

    def headers_problems(self, request: Received, module: str) -> list[str]:
        headers = request.headers
        if self._book.is_211:
            since_22 = (*IDS, *(f"ocpi-{name}" for name in ROUTING))
            return (
                [] if module in CONFIGURATION else [f"{name} is none of 2.1.1" for name in since_22 if name in headers]
            )
        found = [f"{name} is missing (ID-01, ID-02)" for name in IDS if not headers.get(name)]
        if headers.get("x-request-id") in self._book.request_ids:
            found.append("X-Request-ID was used before (ID-01)")
        self._book.request_ids.update(filter(None, [headers.get("x-request-id")]))
        if request.raw and headers.get("content-type", "").split(";")[0].strip() != "application/json":
            found.append(f"Content-Type is {headers.get('content-type')!r} (TR-11)")
        routing = {name: headers.get(f"ocpi-{name}") for name in ROUTING}
        if module in CONFIGURATION:
            return found + [
                f"OCPI-{name} on a configuration module (RT-02)" for name, value in routing.items() if value
            ]
        to = (str(routing["to-country-code"]), str(routing["to-party-id"]))
        sender = (str(routing["from-country-code"]), str(routing["from-party-id"]))
        if not _is_among(to, [self._book.party]):
            found.append(f"OCPI-to is {'-'.join(to)}, not us (RT-04)")
        if not _is_among(sender, self._book.cpo_parties):
            found.append(f"OCPI-from is {'-'.join(sender)}, none of the CPO's parties (RT-04)")
        return found

    def object(self, request: Received, kind: str, *, partial: bool = False) -> Object:
        if not isinstance(request.body, dict):
            raise NotSo(400 if request.body is None else 200, 2001, f"The body is no {kind} object")
        if partial and "last_updated" not in request.body and not self._book.is_211:
            raise NotSo(200, 2001, "PATCH without last_updated (PU-05)")
        self.judge(request, list(problems(kind, request.body, partial=partial, version=self._book.version)))
        return dict(request.body)

    def whole(self, request: Received, kind: str, path: Path) -> Object:
        if len(path) != 3:
            raise NotSo(404, 2000, "No such path")
        body = self.object(request, kind)
        self.owned(path[:2])
        self.judge(request, list(same(body, {"id": path[2]} | self.owner(path))))
        return body

    def owner(self, path: Path) -> dict[str, str]:
        """What of the address stands in the object too; in 2.1.1 only the address says it (V1-04)."""
        return {} if self._book.is_211 else {"country_code": path[0], "party_id": path[1]}

    def owned(self, party: Path) -> None:
        if not _is_among((party[0], party[-1]), self._book.cpo_parties):
            raise NotSo(404, 2000, f"{'-'.join(party)} is none of the caller's parties (TR-23)")

    def older(self, body: Mapping[str, Any], known: Mapping[str, Any] | None) -> list[str]:
        if known is not None and self._book.newer(
            known["last_updated"], body.get("last_updated", known["last_updated"])
        ):
            return [f"last_updated goes back from {known['last_updated']} to {body['last_updated']} (PU-14)"]
        return []

    def not_ours(self, body: Mapping[str, Any]) -> list[str]:
        if self._book.is_211:
            known = {str(token["auth_id"]).casefold() for token in self._book.tokens.values()}
            return [] if str(body.get("auth_id")).casefold() in known else ["auth_id is of no card of ours (V1-09)"]
        token = body.get("cdr_token") or {}
        owner = (str(token.get("country_code")), str(token.get("party_id")))
        return [] if _is_among(owner, [self._book.party]) else [f"cdr_token is of {'-'.join(owner)}, not ours (SE-23)"]


def place(path: str) -> tuple[str, Path]:
    """The module and the decoded segments behind it; with and without a trailing slash (TR-31)."""
    segments = tuple(unquote(segment) for segment in path.strip("/").split("/"))
    if segments[0] in VERSIONS and len(segments) > 1:
        return segments[1], segments[2:]
    return segments[0], segments[1:]


def subject(request: Received) -> str:
    return f"{request.method} {request.path}"


def _is_among(party: tuple[str, str], parties: list[tuple[str, str]]) -> bool:
    return tuple(map(str.casefold, party)) in {tuple(map(str.casefold, each)) for each in parties}


def same(body: Mapping[str, Any], url: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is {body.get(name)!r} in the body and {value!r} in the URL (TR-24)"
        for name, value in url.items()
        if str(body.get(name)).casefold() != value.casefold()
    ]
