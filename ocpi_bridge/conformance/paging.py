"""A list is asked for, cut and continued as OCPI's pagination says (transport_and_format § Pagination)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from crud.caller import Refusal
from ocpi_bridge.conformance.values import read_datetime

FAR = 10**15  # beyond any end, and still an integer for every database


def page_filters(query: Mapping[str, str], *, page_limit: int, needs_date_from: bool = False) -> dict[str, Any]:
    """py_ocpi's filters, with aware UTC times, offset >= 0 and 1 <= limit <= page_limit; raises Refusal 2001 (PG-17)."""
    filters: dict[str, Any] = {
        "date_from": moment(query, "date_from"),
        "date_to": moment(query, "date_to"),
        "offset": number(query, "offset", default=0),
        "limit": min(number(query, "limit", default=page_limit), page_limit),
        "after": query.get("after"),  # of our own next links (PG-18)
    }
    if filters["limit"] < 1:
        raise wrong("limit", "must be at least 1")
    if needs_date_from and filters["date_from"] is None:
        raise wrong("date_from", "is required")
    return filters


def page_headers(url: str, filters: Mapping[str, Any], *, total: int, is_last: bool) -> dict[str, str]:
    """Link stands on every page but the last, absolute and with the filters it was asked with (PG-05 to PG-09)."""
    headers = {"X-Total-Count": str(total), "X-Limit": str(filters["limit"])}
    if not is_last:
        asked = {name: filters[name] for name in ("date_from", "date_to") if filters[name] is not None}
        following = {name: exact(when) for name, when in asked.items()}
        following |= {"offset": filters["offset"] + filters["limit"], "limit": filters["limit"]}
        following |= {"after": filters["following"]} if filters.get("following") else {}
        headers["Link"] = f'<{url}?{urlencode(following)}>; rel="next"'
    return headers


def moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return read_datetime(text.replace(" ", "+"))  # an offset's plus sign that was not percent-encoded
    except ValueError as error:
        raise wrong(name, str(error)) from error


def number(query: Mapping[str, str], name: str, *, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise wrong(name, "must be a whole number, not negative")
    return min(int(text), FAR) if len(text) < 19 else FAR


def exact(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def wrong(field: str, problem: str) -> Refusal:
    return Refusal(200, 2001, f"{field} {problem}", data={"errors": [{"field": field, "problem": problem}]})
