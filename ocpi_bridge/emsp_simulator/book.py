"""The partner's book: all it was told and knows, in order, and what it found wrong; a test reads it like a witness."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, auto
from typing import Any, TypeVar

from ocpi_bridge.emsp_simulator.rules import parse_time

Object = dict[str, Any]
Party = tuple[str, str]  # country_code, party_id
T = TypeVar("T")


class Fault(StrEnum):
    """How the partner misbehaves. SLOW answers properly, `slow_s` late. LOST_ANSWER does what it was asked and then drops
    the connection, WITHHELD does it and never answers, MISSING_LOCATION_HEADER only forgets that header; the others do
    nothing of what was asked. The refusals 2001, 3000 and 3001 are HTTP 200."""

    SLOW = auto()
    HANG = auto()
    DRIP = auto()
    ERROR_401 = auto()
    ERROR_404 = auto()
    ERROR_429 = auto()
    ERROR_500 = auto()
    ERROR_2001 = auto()
    ERROR_3000 = auto()
    ERROR_3001 = auto()
    STALE_TOKEN = auto()
    WRONG_ENVELOPE = auto()
    A_LIST = auto()
    REDIRECT = auto()
    HUGE = auto()
    DISCONNECT = auto()
    GARBAGE = auto()
    LOST_ANSWER = auto()
    WITHHELD = auto()
    MISSING_LOCATION_HEADER = auto()


class Allow(StrEnum):
    """The answer to a real-time authorization. UNKNOWN_TOKEN is HTTP 404 with 2004, HANG none at all."""

    ALLOWED = "ALLOWED"
    BLOCKED = "BLOCKED"
    EXPIRED = "EXPIRED"
    NO_CREDIT = "NO_CREDIT"
    NOT_ALLOWED = "NOT_ALLOWED"
    UNKNOWN_TOKEN = "UNKNOWN_TOKEN"
    HANG = "HANG"


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """`reference` None leaves authorization_reference out. `evse_uids` None returns those that were asked for."""

    allowed: Allow = Allow.ALLOWED
    reference: str | None = None
    evse_uids: Sequence[str] | None = None
    info: str | None = None


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it came: `path` still percent-encoded, header names in lower case, `body` None when not JSON."""

    at: datetime
    method: str
    path: str
    query: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any
    raw: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """`subject` is the request, or our own call whose answer was wrong."""

    at: datetime
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


class Shelf(Mapping[str, Object]):
    """Objects by id, which compares without case (TY-04); the same id of two parties is two objects, the newer found."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, ...], Object] = {}
        self._newest: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, identity: str) -> Object:
        return self._objects[self._newest[identity.casefold()]]

    def __iter__(self) -> Iterator[str]:
        return (str(entry["id"]) for entry in self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def find(self, *key: str) -> Object | None:
        return self._objects.get(tuple(part.casefold() for part in key))

    def put(self, entry: Object, *key: str) -> None:
        plain = tuple(part.casefold() for part in key)
        self._objects[plain] = entry
        self._newest[plain[-1]] = plain

    def remove(self, *key: str) -> bool:
        plain = tuple(part.casefold() for part in key)
        self._newest.pop(plain[-1], None)
        return self._objects.pop(plain, None) is not None


@dataclass(kw_only=True)
class PlannedFault:
    prefix: str
    fault: Fault
    left: int | None  # None: always
    method: str | None


class Book:
    """State of the partner; everything in it may be read and changed at any time.

    `sessions`, `locations` and `tariffs` hold the objects as merged from PUT and PATCH, with Decimals; `cdrs` the CDRs in
    the order they came; `command_results` the CommandResult by the uid in its response_url, `profile_results` the same of
    charging profiles; `active_profiles` those pushed of each session; `tokens` what we issue.
    `authorizations` says how each uid is answered, `authorization` how all others are.
    """

    def __init__(self, *, party: Party, name: str, strict: bool, page_limit: int, version: str) -> None:
        self.party = party
        self.version = version
        self.is_211 = version == "2.1.1"
        self.name = name
        self.strict = strict
        self.page_limit = page_limit
        self.requests: list[Received] = []
        self.complaints: list[Complaint] = []
        self.locations = Shelf()
        self.sessions = Shelf()
        self.tariffs = Shelf()
        self.cdrs: list[Object] = []
        self.command_results: dict[str, Object] = {}
        self.profile_results: dict[str, Object] = {}
        self.active_profiles: dict[str, list[Object]] = {}
        self.commands: dict[str, str] = {}  # uid -> the CPO's immediate CommandResponse result, "" while unknown
        self.tokens: dict[tuple[str, str], Object] = {}
        self.authorization = Authorization()
        self.authorizations: dict[str, Authorization] = {}
        self.invitations: set[str] = set()  # tokens A: versions and credentials only
        self.inbound: set[str] = set()  # tokens that the CPO may use at us
        self.overlap = False  # does the token before the newest stay good for credentials, until that one is used?
        self.superseded: str | None = None  # that token
        self.outbound: str | None = None  # the token that we use at the CPO
        self.registered = False
        self.registering = asyncio.Lock()  # held during register(): what the CPO pushes meanwhile waits for its end
        self.cpo_parties: list[Party] = []
        self.cpo_endpoints: dict[tuple[str, str], str] = {}
        self.request_ids: set[str] = set()
        self.slow_s = 3.0
        self._faults: list[PlannedFault] = []
        self._changed = asyncio.Event()

    def now(self) -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # ---- what is set up ---------------------------------------------------------------------------------------------

    def invite(self) -> str:
        """A token A with which a CPO may register here, once."""
        token = secrets.token_urlsafe(24)
        self.invitations.add(token)
        return token

    def trust(self, token: str, *parties: Party) -> None:
        """As if the CPO of `parties` had registered and used `token` at us, without the handshake."""
        self.inbound = {token}
        self.cpo_parties = list(parties)
        self.registered = True

    def issue_token(self, uid: str, **fields: Any) -> Object:
        """A token of ours with sensible fields, `fields` over them; listed from now on, pushed to nobody yet."""
        owner = {} if self.is_211 else {"country_code": self.party[0], "party_id": self.party[1]}
        contract = f"{self.party[0]}-{self.party[1]}-C{len(self.tokens) + 1:08d}-X"
        token: Object = {
            **owner,
            "uid": uid,
            "type": "RFID",
            "auth_id" if self.is_211 else "contract_id": contract,
            "issuer": self.name,
            "valid": True,
            "whitelist": "ALLOWED",
            "last_updated": self.now(),
            **fields,
        }
        self.tokens[(uid.casefold(), token["type"])] = token
        return token

    def fault(self, prefix: str, fault: Fault, times: int | None = 1, *, method: str | None = None) -> None:
        """The next `times` requests below `prefix` misbehave (None: all). A prefix is what follows the version in the
        path, as "sessions" or "commands/START_SESSION", or "versions", or "2.2.1" for the version details."""
        self._faults.append(PlannedFault(prefix=prefix, fault=fault, left=times, method=method))

    @property
    def faults(self) -> list[PlannedFault]:
        """Those that have something left to spoil, in the order in which they are tried."""
        return [planned for planned in self._faults if planned.left != 0]

    def clear_faults(self) -> None:
        self._faults.clear()

    def take_fault(self, method: str, place: str) -> Fault | None:
        for planned in self._faults:
            if place.startswith(planned.prefix) and planned.left != 0 and planned.method in (None, method):
                if planned.left is not None:
                    planned.left -= 1
                return planned.fault
        return None

    # ---- what happens -----------------------------------------------------------------------------------------------

    def complain(self, subject: str, *texts: str) -> None:
        self.complaints += [Complaint(at=datetime.now(UTC), subject=subject, text=text) for text in texts]

    def changed(self) -> None:
        """Wakes those who wait; called after every request was answered or given up."""
        self._changed.set()

    async def wait_for(self, predicate: Callable[[], T], timeout_s: float = 30.0) -> T:
        """The first true value of `predicate`, asked after every request. Raises TimeoutError with the last requests."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (value := predicate()):
                    self._changed.clear()
                    await self._changed.wait()
                return value
        except TimeoutError:
            last = ", ".join(f"{request.method} {request.path}" for request in self.requests[-8:])
            raise TimeoutError(f"nothing of the kind within {timeout_s:g} s; the last requests were: {last}") from None

    def newer(self, text: str, than: str) -> bool:
        """False as well when one of them is no time, which is complained of elsewhere."""
        try:
            return parse_time(text) > parse_time(than)
        except (TypeError, ValueError):
            return False
