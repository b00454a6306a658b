"""What a handler knows of a request, and what a route says of itself: all of it values, read and checked before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from csms.configuration import KeyOf
from csms.database import Database
from csms.sealing import Vault
from csms.users import KeyHolder, Role
from ocpi_bridge.api.problems import Problem
from ocpi_bridge.masking import holds_card, starred, values_without_cards, without_cards, words_without_cards

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")

QuirksOf = Callable[[str, str, str | None], Sequence[str]]


def no_throttle_key(_vendor: str, _model: str, _firmware: str | None) -> None:
    return None


def no_quirks(_vendor: str, _model: str, _firmware: str | None) -> Sequence[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the composition root hands in. `quirks_of`: the names of the deviations known of a vendor, model and firmware.
    `organization`: whose name stands in the certificates that we sign; `wss`: stations can reach us by it.
    `throttle_key`: what such a vendor calls the limit of a station's current (G10). `file_key` signs addresses of files
    (csms.signed_urls), `vault` seals passwords."""

    database: Database
    clock: Callable[[], datetime]
    our_party: tuple[str, str]
    operator_name: str
    public_url: str
    data_dir: Path
    vault: Vault
    file_key: bytes = field(repr=False)
    organization: str = ""
    wss: bool = False
    quirks_of: QuirksOf = no_quirks
    throttle_key: KeyOf = no_throttle_key


@dataclass(frozen=True, kw_only=True)
class Asked(Generic[Q, B]):
    """`connection` is to the core's tables: a look for GET, else one transaction that ends with the handler."""

    given: Surroundings
    connection: Connection
    holder: KeyHolder
    now: datetime
    path: Mapping[str, Any]
    query: Q
    body: B

    @property
    def by(self) -> str:
        """Who asked, as rows keep it."""
        return f"api:{self.holder.name}"

    def card(self, id_token: str | None) -> str | None:
        """A card's number as this reader may see it (roles below operator: masked)."""
        if id_token is None or self.holder.may(Role.OPERATOR):
            return id_token
        return starred(id_token)

    def setting(self, key: str, value: str | None) -> str | None:
        """The same for a station's setting, which may be a card's number."""
        return self.card(value) if holds_card(key) else value

    def value(self, value: Any) -> Any:
        """The same for what rows keep as JSON."""
        return value if self.holder.may(Role.OPERATOR) else values_without_cards(value)

    def words(self, words: str | None) -> str | None:
        """The same for what a station says in its own words."""
        return words if words is None or self.holder.may(Role.OPERATOR) else words_without_cards(words)

    def frame(self, text: str) -> str:
        """The same for a frame as it crossed the wire."""
        return text if self.holder.may(Role.OPERATOR) else without_cards(text)


@dataclass(frozen=True, kw_only=True)
class FileBody:
    """A body that is a file of 1 to `most` bytes. `keep(given, file, query)` is called in a thread, before the transaction
    begins; what it returns is the handler's body, and `file` is gone afterwards."""

    most: int
    keep: Callable[[Surroundings, Path, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A handler's answer where it is more than a value."""

    value: Any
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FileReply:
    path: Path
    name: str


Handler = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Route:
    """`path` below /api/v1; `path_types` where a part of it is no name. `output` None: nothing is answered (204).
    `csv`: the columns of its rows, where it is also told as text/csv. `live`: an async handler that streams. `file`: it
    answers with a file. `body`: the type that JSON is read as, or a FileBody. `repeats`: asked again, it answers 200 instead
    of its 201. `problems`: which it may answer beside those that every route may."""

    method: str
    path: str
    role: Role
    summary: str
    handler: Handler
    output: Any = None
    status: int = 200
    query: type[msgspec.Struct] | None = None
    body: Any = None
    path_types: Mapping[str, Any] = field(default_factory=dict)
    csv: Sequence[str] = ()
    live: bool = False
    file: bool = False
    repeats: bool = False
    problems: Sequence[int] = ()


# ---- words that inputs share ------------------------------------------------------------------------------------------

PLAIN = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=PLAIN)]
Text = Annotated[str, Meta(max_length=1000, pattern=PLAIN)]
Reason = Annotated[
    str, Meta(min_length=1, max_length=1000, pattern=PLAIN, description="Why, for whoever reads it later.")
]
Moment = Annotated[datetime, Meta(tz=True)]
Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Small = Annotated[int, Meta(ge=0, le=2**31 - 1)]
EvseNumber = Annotated[int, Meta(ge=0, le=65_535, description="As the station numbers it; 0 is the whole station.")]
Limit = Annotated[int, Meta(ge=1, le=1000, description="At most so many.")]
Cursor = Annotated[str, Meta(min_length=1, max_length=300, pattern=PLAIN, description="`next` of the page before.")]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body; a field that nobody knows is refused."""


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    limit: Limit = 100
    after: Cursor | None = None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`next` is the `after` of the following page, null on the last. What was added or removed in between moves nothing."""

    items: Sequence[T]
    next: str | None = None


def paged(rows: Sequence[Any], limit: int, key: Callable[[Any], object], show: Callable[[Any], T]) -> Page[T]:
    """`rows` were asked for with one more than `limit`."""
    shown = rows[:limit]
    return Page(items=[show(row) for row in shown], next=str(key(shown[-1])) if len(rows) > limit else None)


def cursor_number(after: str | None) -> int | None:
    if after is None:
        return None
    if not after.isascii() or not after.isdecimal() or len(after) > 18 + 1 or int(after) >= 2**63:
        raise bad_cursor()
    return int(after)


def cursor_time(after: str | None) -> tuple[datetime, str] | None:
    """A moment and what tells apart those of the same moment."""
    if after is None:
        return None
    moment, _, rest = after.partition("|")
    try:
        return msgspec.convert(moment, Moment), rest
    except msgspec.ValidationError:
        raise bad_cursor() from None


def time_cursor(moment: datetime, id_: str) -> str:
    return f"{moment.isoformat()}|{id_}".replace("+00:00", "Z")


def bad_cursor() -> Problem:
    return Problem(status=404, code="unknown_cursor", detail="`after` is no `next` of ours: there is no such page")


def protocol(ocpp_version: str | None) -> str | None:
    """How people call it: JSON over websockets is the J (J03)."""
    if ocpp_version is None or not ocpp_version:
        return None
    return f"{ocpp_version}J" if ocpp_version.startswith("1.") else ocpp_version


def version_of(word: str | None) -> str | None:
    """What a filter means by 1.6J, 1.6j or 2.0.1."""
    return None if word is None else word.strip().lower().removeprefix("ocpp").rstrip("j").strip()
