"""Requests that no honest partner sends: OCPI's own, with values of every wrong kind in every place, from a fixed seed."""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote

import schemathesis
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from ocpi_bridge.ocpi_app import create_ocpi_app

SEED = 20_260_304
AT = "2026-03-04T12:00:00Z"

TOKEN = {
    "country_code": "DE",
    "party_id": "TNM",
    "uid": "CARD-of-one",
    "type": "RFID",
    "contract_id": "C-of-one",
    "issuer": "one",
    "valid": True,
    "whitelist": "ALLOWED",
    "last_updated": AT,
}
RESULTS = "http://127.0.0.1:1/results"
PROFILE = {
    "charging_rate_unit": "A",
    "start_date_time": AT,
    "duration": 60,
    "min_charging_rate": 6.0,
    "charging_profile_period": [{"start_period": 0, "limit": 16.0}],
}
ROLE = {"role": "EMSP", "country_code": "DE", "party_id": "TNM", "business_details": {"name": "one"}}
EVSE = {"location_id": "LOC1", "evse_uid": "CP001-1", "connector_id": "1"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    method: str
    path: str
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    version: str = "2.2.1"

    def __str__(self) -> str:
        return f"{self.method} {self.version} {self.path} {self.query} {self.headers} {json.dumps(self.body)[:600]}"


SOUND = [
    Asked(method="PUT", path="tokens/DE/TNM/CARD-of-one", query={"type": "RFID"}, body=TOKEN),
    Asked(method="PATCH", path="tokens/DE/TNM/CARD-of-one", body={"valid": False, "group_id": "G", "last_updated": AT}),
    Asked(method="POST", path="commands/START_SESSION", body={"response_url": RESULTS, "token": TOKEN, **EVSE}),
    Asked(method="POST", path="commands/STOP_SESSION", body={"response_url": RESULTS, "session_id": "session-of-one"}),
    Asked(method="POST", path="commands/UNLOCK_CONNECTOR", body={"response_url": RESULTS, **EVSE}),
    Asked(
        method="POST",
        path="commands/RESERVE_NOW",
        body={"response_url": RESULTS, "token": TOKEN, "expiry_date": "2030-01-01T00:00:00Z", "reservation_id": "R1"}
        | EVSE,
    ),
    Asked(method="POST", path="commands/CANCEL_RESERVATION", body={"response_url": RESULTS, "reservation_id": "R1"}),
    Asked(
        method="PUT",
        path="chargingprofiles/session-of-one",
        body={"response_url": RESULTS, "charging_profile": PROFILE},
    ),
    Asked(method="GET", path="chargingprofiles/session-of-one", query={"duration": 60, "response_url": RESULTS}),
    Asked(method="DELETE", path="chargingprofiles/session-of-one", query={"response_url": RESULTS}),
    Asked(method="PUT", path="sessions/session-of-one/charging_preferences", body={"profile_type": "FAST"}),
    Asked(method="PUT", path="credentials", body={"token": "t", "url": "http://127.0.0.1:1/v", "roles": [ROLE]}),
    Asked(method="GET", path="locations", query={"date_from": AT, "date_to": AT, "offset": 0, "limit": 5}),
    Asked(method="GET", path="locations/LOC1/CP001-1/1"),
    Asked(method="GET", path="sessions", query={"date_from": AT, "date_to": AT, "offset": 0, "limit": 5}),
    Asked(method="GET", path="cdrs", query={"date_from": AT, "date_to": AT, "offset": 0, "limit": 5}),
    Asked(method="GET", path="tariffs", query={"offset": 0, "limit": 5}),
    Asked(method="GET", path="tokens/DE/TNM/CARD-of-one", query={"type": "RFID"}),
]

OLD_TOKEN = {
    **{name: TOKEN[name] for name in ("type", "valid", "whitelist", "last_updated")},
    **{"uid": "CARD-of-old", "auth_id": "C-of-old", "issuer": "old"},
}
FLAT = {"token": "t", "url": "http://127.0.0.1:1/v", "country_code": "AT", "party_id": "OLD"}
SOUND_211 = [
    Asked(method="PUT", path="tokens/AT/OLD/CARD-of-old", query={"type": "RFID"}, body=OLD_TOKEN, version="2.1.1"),
    Asked(method="PATCH", path="tokens/AT/OLD/CARD-of-old", body={"valid": False, "last_updated": AT}, version="2.1.1"),
    Asked(
        method="POST",
        path="commands/START_SESSION",
        body={"response_url": RESULTS, "token": OLD_TOKEN, "location_id": "LOC1", "evse_uid": "CP001-1"},
        version="2.1.1",
    ),
    Asked(
        method="POST",
        path="commands/RESERVE_NOW",
        body={"response_url": RESULTS, "token": OLD_TOKEN, "expiry_date": "2030-01-01T00:00:00Z", "reservation_id": 1}
        | {"location_id": "LOC1", "evse_uid": "CP001-1"},
        version="2.1.1",
    ),
    Asked(
        method="POST",
        path="commands/STOP_SESSION",
        body={"response_url": RESULTS, "session_id": "session-of-old"},
        version="2.1.1",
    ),
    Asked(method="PUT", path="credentials", body={**FLAT, "business_details": {"name": "old"}}, version="2.1.1"),
    Asked(method="GET", path="cdrs", query={"date_from": AT, "offset": 0, "limit": 5}, version="2.1.1"),
    Asked(method="GET", path="tokens/AT/OLD/CARD-of-old", query={"type": "RFID"}, version="2.1.1"),
]

TEXTS = st.one_of(
    st.sampled_from(
        ["loc1", "CP001-1", "card-OF-one", "session-of-one", "DE", "tnm", "RFID", "AD_HOC_USER", "W", "R2"]
    ),
    st.sampled_from(
        ["2026-03-04T12:00:00.123456789+01:00", "2026-03-04T12:00:00", "http://127.0.0.1:1/?a=b&c", "16", "y"]
    ),
    st.sampled_from(["", "\x00", "#NA", "..", "%2F", "a/b", "☃", "\ud800", "‮", "'; DROP TABLE tokens; --", "x" * 300]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "1e400", "NaN"]),
    st.text(max_size=40),
)
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 2**31, 2**63, -(2**63), 2**64 - 1, 10**40, 1e308, -0.0, 1.5, [], {}]),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS,
    lambda deeper: st.one_of(st.lists(deeper, max_size=3), st.dictionaries(TEXTS, deeper, max_size=3)),
    max_leaves=5,
)
HEADER = ("X-Request-ID", "X-Correlation-ID", "Content-Type")
PARTY_HEADER = tuple(f"OCPI-{end}-{part}" for end in ("to", "from") for part in ("country-code", "party-id"))
PRINTABLE = st.characters(max_codepoint=255, exclude_categories=["Cc"])
HEADERS = st.dictionaries(
    st.sampled_from(HEADER + PARTY_HEADER),
    st.one_of(
        st.sampled_from(["", "BE", "BEC", "NL", "TWO", "hub", "x" * 8_000]),
        st.text(PRINTABLE, max_size=20).map(str.strip),
    ),
    max_size=3,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _places(entry, (*path, key))


@st.composite
def spoilt(draw: Callable[..., Any], sound: Sequence[Asked]) -> Asked:
    """A sound request with one to three things replaced: in the body, the query, the address or the headers."""
    asked = draw(st.sampled_from(sound))
    body, query, headers, parts = copy.deepcopy(asked.body), dict(asked.query), {}, asked.path.split("/")
    places = ["body"] * 8 * (body is not None) + ["query"] * 4 * bool(query) + ["path", "headers"]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        match draw(st.sampled_from(places)):
            case "path":
                parts[draw(st.integers(min(1, len(parts) - 1), len(parts) - 1))] = draw(TEXTS)
            case "headers":
                headers = draw(HEADERS)
            case "query":
                query[draw(st.sampled_from(sorted(query)))] = draw(SCALARS)
            case _:
                body = _replaced(body, draw(st.sampled_from(list(_places(body)))), draw(VALUES))
    return replace(asked, path="/".join(parts), query=query, headers=headers, body=body)


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value[path[0]] = _replaced(value[path[0]], path[1:], new)
    return value


def address(asked: Asked) -> str:
    """Percent-encoded as a client would, whatever it holds; a lone surrogate as the bytes it is not."""
    path = "/".join(_quoted(part) for part in asked.path.split("/"))
    return f"{path}?{'&'.join(f'{name}={_quoted(str(value))}' for name, value in asked.query.items())}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def content(asked: Asked) -> bytes:
    return json.dumps(asked.body).encode()


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """The same values in every run."""
    found: list[Any] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found


def described() -> list[tuple[str, str]]:
    """(method, path) of every route that is mounted."""
    return [(method.upper(), path) for path, methods in _description()["paths"].items() for method in methods]


@cache
def schematic() -> Sequence[schemathesis.Case]:
    """Of every route, a request by its own description and one against it."""
    cases: list[schemathesis.Case] = []
    for found in schemathesis.openapi.from_dict(_description()).get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        for mode in GenerationMode:
            with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
                cases += drawn(operation.as_strategy(generation_mode=mode), 1)
    return cases


def _description() -> dict[str, Any]:
    nobody: Any = type("Nobody", (), {"caller": None})
    app = create_ocpi_app(
        crud=nobody,
        adapter=nobody,
        partners=nobody,
        credentials=nobody,
        public_url="http://127.0.0.1",
        our_parties=(),
        clock=lambda: datetime.now(UTC),
    )
    return get_openapi(title="OCPI", version="2.2.1", routes=app.routes)
