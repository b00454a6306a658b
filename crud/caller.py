"""Who is asking and what they sent: set at the edge for each OCPI request, because py_ocpi hands crud only a token."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

Party = tuple[str, str]  # (country_code, party_id)

OPERATOR = "CPO"  # the role that issues no cards, commands no charger and pays no bill


@dataclass(frozen=True, kw_only=True, slots=True)
class PresentedToken:
    """One reading of an Authorization header (TR-06). `is_raw`: the text as it stood, not Base64-decoded; it may match only
    a partner whose `accept_raw_token` is set (TR-05)."""

    token: str
    is_raw: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The calling platform, known from its token alone (TR-09).

    `token_state`: "A" may use versions and credentials only (TR-08), "C" everything; `superseded`: by a newer token, whose
    answer this caller may not have heard, so it may only ask for that again. `roles`: (country_code, party_id, role) of its
    credentials, empty before registration. `our_party`: the party of ours that answers it when it names none.
    `token_digest`: of the token by which it called.
    `clients`: who stands behind a hub, in capitals; None: it has not told, so anybody may.
    `version`: in which it registered, whose modules are open to it; None before.
    """

    partner_id: int
    name: str
    token_state: Literal["A", "C"]
    our_party: Party
    superseded: bool = False
    token_digest: str = field(default="", repr=False)
    roles: tuple[tuple[str, str, str], ...] = ()
    accept_raw_token: bool = False
    version: str | None = None
    clients: frozenset[Party] | None = None

    @property
    def is_hub(self) -> bool:
        return any(role == "HUB" for _, _, role in self.roles)

    def speaks_for(self, country_code: str, party_id: str) -> bool:
        """Is this party one of the caller's roles (TR-23), or a client of this hub (CR-34), and not as an operator alone?
        Without case (TY-04)."""
        wanted = (country_code.upper(), party_id.upper())
        if any((country.upper(), party.upper()) == wanted for country, party, role in self.roles if role != OPERATOR):
            return True
        return self.is_hub and (self.clients is None or wanted in self.clients)

    def is_itself_a_hub_as(self, country_code: str, party_id: str) -> bool:
        """Is this the hub's own party, in whose name it broadcasts and reads (RT-08, RT-10)?"""
        wanted = (country_code.upper(), party_id.upper())
        return any(role == "HUB" and (country.upper(), party.upper()) == wanted for country, party, role in self.roles)


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingRequest:
    """What py_ocpi does not hand on. `to_party`: the party of ours named in the routing headers, as we spell it; None when
    the caller addresses the platform, which means all our parties (RT-11). `from_party` as the caller wrote it.
    `body`: the parsed JSON, untouched: in a PATCH a null clears the field, an absent field stays."""

    method: str
    request_id: str
    correlation_id: str
    to_party: Party | None = None
    from_party: Party | None = None
    body: object = None


class Refusal(Exception):
    """The domain's word for "no", turned into the OCPI envelope at the edge.

    `http_status` 200 with a 2xxx or 3xxx `status_code` for a request that was understood (TR-19); `data` may tell the
    caller which field is wrong (TR-29).
    """

    def __init__(self, http_status: int, status_code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.status_code = status_code
        self.message = message
        self.data = data


# Both are set for the length of one OCPI request; outside it, and before the caller is known, `get()` raises LookupError.
current_caller: ContextVar[Caller] = ContextVar("current_caller")
current_request: ContextVar[IncomingRequest] = ContextVar("current_request")
