"""Questions to the platform that is checked: GET and nothing else, through the guarded door, within limits."""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ocpi_bridge.checker.fields import read_json
from ocpi_bridge.outbound import Guarded, Refused, Unanswered, Unreachable

Party = tuple[str, str]  # country_code, party_id


class Enough(Exception):
    """The limit of requests is reached."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`status` None: no whole answer, `failure` says why. `envelope` None: the body is no JSON object.

    `ids` are the X-Request-ID and X-Correlation-ID that were sent."""

    url: str
    status: int | None = None
    failure: str = ""
    refused: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    envelope: Mapping[str, Any] | None = field(default=None, repr=False)
    ids: tuple[str, str] = ("", "")

    @property
    def code(self) -> int | None:
        code = (self.envelope or {}).get("status_code")
        return code if isinstance(code, int) and not isinstance(code, bool) else None

    @property
    def data(self) -> Any:
        return (self.envelope or {}).get("data")

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and self.code is not None and self.code < 2000

    def __str__(self) -> str:
        if self.status is None:
            return self.failure
        return f"HTTP {self.status}" + (f", OCPI {self.code}" if self.code is not None else ", no OCPI envelope")


class Asker:
    """Holds the token and gives it to nobody but the platform; `raw` is how it is written in the header (TR-03, TR-04)."""

    def __init__(self, guarded: Guarded, token: str, *, max_requests: int, timeout_s: float, max_bytes: int) -> None:
        self._guarded = guarded
        self._token = token
        self._left = max_requests
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self.raw = False
        self.asked = 0

    async def get(
        self, url: str, *, raw: bool | None = None, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer, whatever it is. `token` "" sends none, None our own. Raises Enough and nothing else."""
        if self._left <= 0:
            raise Enough
        self._left -= 1
        self.asked += 1
        ids = (str(uuid.uuid4()), str(uuid.uuid4()))
        sent = {"X-Request-ID": ids[0], "X-Correlation-ID": ids[1], **(headers or {})}
        token = self._token if token is None else token
        if token:
            plain = self.raw if raw is None else raw
            sent["Authorization"] = f"Token {token if plain else base64.b64encode(token.encode()).decode()}"
        try:
            response = await self._guarded.request(
                "GET", url, sent, timeout_s=self._timeout_s, max_bytes=self._max_bytes
            )
        except (Unreachable, Unanswered) as error:
            return Answer(url=url, failure=str(error) or type(error).__name__, ids=ids)
        except Refused as error:
            return Answer(url=url, failure=str(error), refused=True, ids=ids)
        try:
            envelope = read_json(response.body)
        except ValueError:
            envelope = None
        return Answer(
            url=url,
            status=response.status,
            headers=response.headers,
            envelope=envelope if isinstance(envelope, dict) else None,
            ids=ids,
        )


def with_query(url: str, **parameters: object) -> str:
    """`parameters` added, those of the same name replaced."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name not in parameters]
    return urlunsplit(parts._replace(query=urlencode([*kept, *parameters.items()])))


def routing(asking: Party, asked: Party) -> dict[str, str]:
    return {
        "OCPI-from-country-code": asking[0],
        "OCPI-from-party-id": asking[1],
        "OCPI-to-country-code": asked[0],
        "OCPI-to-party-id": asked[1],
    }
