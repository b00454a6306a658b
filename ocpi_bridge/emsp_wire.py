"""One OCPI exchange, pure: how an address is written, and what an answer means for the object sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

import orjson

from ocpi_bridge.outbound import Response

LINK = re.compile(r"<([^<>]*)>([^<]*)")  # read in one pass, whatever the partner writes
# The platform answered, the object was never judged: worth another attempt later.
NOT_JUDGED = frozenset({401, 403, 408, 425, 429})
# Without an envelope these still say that this body will never be taken.
UNACCEPTABLE = frozenset({400, 405, 406, 411, 413, 414, 415, 422})


class Delivery(StrEnum):
    """What an answer means for the object that was sent.

    REFUSED is permanent for this version of it (PU-17). UNSURE may have arrived; UNREACHABLE surely has not, and HUB
    was stopped on the way (RT-14). NOT_FOUND: the receiver misses it, or what it refers to (404, 2003, 2004).
    """

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    UNSURE = "unsure"
    UNREACHABLE = "unreachable"
    HUB = "hub"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """`http_status` None: no whole answer. `status_code` None: no OCPI envelope. `data` as sent, None when left out.

    `location` is the answer's Location header made absolute, the only address of a CDR at its receiver (CD-03).
    """

    delivery: Delivery
    at: datetime
    http_status: int | None = None
    status_code: int | None = None
    status_message: str = ""
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    location: str | None = None

    @property
    def ok(self) -> bool:
        return self.delivery is Delivery.CONFIRMED


def join(endpoint: str, *segments: str, query: str = "") -> str:
    """A discovered endpoint and path segments with exactly one slash between, ids percent-encoded (TR-32, TR-36)."""
    base, _, own_query = endpoint.partition("?")
    path = "/".join([base.rstrip("/"), *map(_segment, segments)]) if segments else base
    both = "&".join(filter(None, (own_query, query)))
    return f"{path}?{both}" if both else path


def _segment(text: str) -> str:
    # A segment of dots alone would be taken for a step up or down in the path.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def next_page(url: str, headers: Mapping[str, str]) -> str | None:
    """The URL of `rel="next"`, as the partner wrote it; None when there is no such link, or an empty one."""
    for target, parameters in LINK.findall(headers.get("link", "")):
        if target and any(map(_is_next, re.split("[;,]", parameters))):
            return absolute(url, target)
    return None


def _is_next(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip().casefold() == "rel" and "next" in value.strip(' "').casefold().split()


def total_count(headers: Mapping[str, str]) -> int | None:
    told = headers.get("x-total-count", "").strip()
    return int(told) if told.isascii() and told.isdigit() else None


def earlier(url: str, gone: int) -> str | None:
    """The page that begins `gone` objects earlier: so many have left the part of the list that was read, and as many that
    were not read have taken their places (PG-13). None when none has, or the address does not say where it begins."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    offset = next((value for name, value in query if name.casefold() == "offset"), "")
    if gone <= 0 or not (offset.isascii() and offset.isdigit()) or int(offset) == 0:
        return None
    moved = [(n, str(max(int(offset) - gone, 0)) if n.casefold() == "offset" else value) for n, value in query]
    return urlunsplit(parts._replace(query=urlencode(moved)))


def absolute(url: str, target: str) -> str:
    """As it stands when it cannot be read: whoever calls it is refused, and nobody takes it for none."""
    try:
        return urljoin(url, target)
    except ValueError:
        return target


def delivery(http_status: int, status_code: int | None) -> Delivery:
    """What an answer means; an envelope counts for more than its HTTP status (TR-30)."""
    if http_status in NOT_JUDGED:
        return Delivery.UNSURE
    if http_status == 404 or status_code in (2003, 2004):
        return Delivery.NOT_FOUND
    if status_code is None:
        return Delivery.REFUSED if http_status in UNACCEPTABLE else Delivery.UNSURE
    if 1000 <= status_code < 2000:
        return Delivery.CONFIRMED if 200 <= http_status < 300 else Delivery.UNSURE
    if 2000 <= status_code < 3000:
        return Delivery.REFUSED
    return Delivery.HUB if status_code in (4001, 4002, 4003) else Delivery.UNSURE


def read(response: Response, url: str, at: datetime) -> Reply:
    try:
        envelope = orjson.loads(response.body)
    except ValueError:
        envelope = None
    code: int | None = None
    message = f"HTTP {response.status} without an OCPI envelope"
    data = None
    if isinstance(envelope, dict) and re.fullmatch(r"[1-4]\d{3}", str(envelope.get("status_code"))):
        code = int(envelope["status_code"])
        message = str(envelope.get("status_message") or "")
        data = envelope.get("data")
    location = response.headers.get("location")
    return Reply(
        delivery=delivery(response.status, code),
        at=at,
        http_status=response.status,
        status_code=code,
        status_message=message,
        data=data,
        headers=response.headers,
        location=absolute(url, location) if location else None,
    )
