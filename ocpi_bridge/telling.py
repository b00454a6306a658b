"""How a partner is told of an object's current state, and what its answer means for the next attempt: pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson

from adapters import v211
from adapters.locations import evse_patch, location_patch
from adapters.rendered import encode
from adapters.sessions import session_patch
from ocpi_bridge.emsp_client import Delivery, Reply
from ocpi_bridge.peers import without_tokens

Body = dict[str, Any]

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=15)
PATIENCE = 5  # attempts for what the receiver does not find, or a CDR waits for its session
CDR_ATTEMPTS = 20  # a CDR that may have arrived is not sent forever; the list has it too (PU-11)
FINAL = frozenset({"COMPLETED", "INVALID"})  # SE-11


class Verb(StrEnum):
    GET = "GET"  # is it there?
    PUT = "PUT"
    PATCH = "PATCH"
    POST = "POST"
    DELETE = "DELETE"


@dataclass(frozen=True, kw_only=True)
class Message:
    """`body` is what is sent, `state` the whole object that the partner then knows, None when it knows none any more.
    `path`: the ids behind the party in the address, where the body does not hold them."""

    verb: Verb
    body: Body
    state: Body | None
    path: tuple[str, ...] = ()


# ---- what is sent ---------------------------------------------------------------------------------------------------


def exact(value: Any) -> Any:
    """As it crosses the wire and comes back from a row: every number exact, so that equal bodies are equal (PU-15)."""
    return json.loads(encode(value), parse_float=Decimal)


def storable(body: Body | None) -> Any:
    """For a row of JSON, in which a Decimal would become text."""
    return None if body is None else orjson.loads(encode(body))


def about_tariff(current: Body, confirmed: Body | None) -> Message | None:
    """None here and below: the partner knows it all (PU-15). There is no PATCH of a tariff (TA-02)."""
    return None if current == confirmed else Message(verb=Verb.PUT, body=current, state=current)


def about_location(current: Body, confirmed: Body | None) -> Message | None:
    """PUT until the partner confirmed a body, then PATCH of what changed where that is one place (LO-06, PU-05)."""
    patch = None if confirmed is None or current == confirmed else location_patch(confirmed, current)
    if patch is None:
        return about_tariff(current, confirmed)
    path, changes = patch
    return Message(verb=Verb.PATCH, body=changes, state=current, path=(current["id"], *path))


def about_session(current: Body, confirmed: Body | None) -> Message | None:
    """PUT until the partner confirmed a body, then PATCH as the difference from it (decision 5); nothing after the end."""
    if confirmed is None:
        return Message(verb=Verb.PUT, body=current, state=current)
    if current == confirmed or confirmed.get("status") in FINAL:
        return None
    patch = session_patch(confirmed, current)
    if patch is None:
        return Message(verb=Verb.PUT, body=current, state=current)
    return Message(verb=Verb.PATCH, body=patch, state=current, path=(current["id"],)) if patch else None


def about_cdr(current: Body, confirmed: Body | None) -> Message | None:
    """Once: a sent CDR is never changed or replaced (CD-06)."""
    return None if confirmed is not None else Message(verb=Verb.POST, body=current, state=current)


def about_profile(current: Body, _confirmed: Body | None) -> Message | None:
    """Each change is told: what was told of the last was for its own time (CP-06)."""
    return Message(verb=Verb.PUT, body=current["profile"], state=current, path=(current["id"],))


def about_evse(current: Body, location: Body) -> Message | None:
    """The status as a PATCH of the EVSE inside a location that the partner confirmed (LO-07).

    Raises KeyError when more than the status differs: then the whole location must be told.
    """
    known = next((evse for evse in location.get("evses", ()) if evse["uid"] == current["uid"]), None)
    if known is None:
        raise KeyError(current["uid"])
    if known == current:
        return None
    changes = evse_patch(current)
    if known | changes != current:
        raise KeyError(current["uid"])
    evses = [evse | changes if evse is known else evse for evse in location["evses"]]
    newest = max(location["last_updated"], current["last_updated"])  # LO-04; both in the same form, so text compares
    state = location | {"evses": evses, "last_updated": newest}
    return Message(verb=Verb.PATCH, body=changes, state=state, path=(location["id"], current["uid"]))


def about_session_211(current: Body, confirmed: Body | None) -> Message | None:
    """Whether a PATCH adds periods or replaces them 2.1.1 does not say: what has new ones is PUT."""
    message = about_session(current, confirmed)
    if message is None or "charging_periods" not in message.body:
        return message
    return Message(verb=Verb.PUT, body=current, state=current)


def taken_back(location: Body) -> Message:
    """There is no DELETE of a Location: one that is shown no longer has no EVSE any more (LO-08)."""
    evses = [evse | {"status": "REMOVED"} for evse in location.get("evses", ())]
    return Message(verb=Verb.PUT, body=location | {"evses": evses}, state=None)


About = Callable[[Body, Body | None], Message | None]

ABOUT: dict[str, About] = {
    "tariffs": about_tariff,
    "locations": about_location,
    "sessions": about_session,
    "cdrs": about_cdr,
    "chargingprofiles": about_profile,
}
ABOUT_211 = ABOUT | {"sessions": about_session_211}


def about(version: str | None, module: str) -> About:
    return (ABOUT_211 if version == v211.VERSION else ABOUT)[module]


# ---- what the answer means ------------------------------------------------------------------------------------------


class Fate(StrEnum):
    TOLD = "told"
    AGAIN = "again"  # after a while
    NOW = "now"  # at once, as a whole object
    STOPPED = "stopped"  # until the object changes


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`doubt`: what the partner knows is no longer sure, so a PUT comes next."""

    fate: Fate
    doubt: bool = False
    attempts: int = field(default=0)


def judge(module: str, verb: Verb, answer: Delivery, attempts: int) -> Verdict:
    """`attempts` were made before this one."""
    made = attempts + 1
    if answer is Delivery.CONFIRMED or (answer is Delivery.NOT_FOUND and verb is Verb.DELETE):
        return Verdict(fate=Fate.TOLD)
    if answer is Delivery.UNREACHABLE:
        return Verdict(fate=Fate.AGAIN, attempts=made)
    if verb is Verb.GET and answer in (Delivery.NOT_FOUND, Delivery.REFUSED):
        return Verdict(fate=Fate.NOW, attempts=made)  # it is not there: told again
    if answer is Delivery.HUB:
        return Verdict(fate=Fate.STOPPED)  # RT-14: no blind retry
    if answer is Delivery.UNSURE:
        given_up = module == "cdrs" and made >= CDR_ATTEMPTS
        return Verdict(fate=Fate.STOPPED if given_up else Fate.AGAIN, doubt=True, attempts=made)
    if verb is Verb.PATCH:  # refused or not found: perhaps only as a PATCH (PU-07)
        return Verdict(fate=Fate.NOW, doubt=True, attempts=made)
    if answer is Delivery.NOT_FOUND and made < PATIENCE:
        return Verdict(fate=Fate.AGAIN, doubt=True, attempts=made)  # what it refers to may be on its way
    return Verdict(fate=Fate.STOPPED, doubt=True)


def retry_at(now: datetime, attempts: int, chance: float) -> datetime:
    """1 s doubling to 15 min, spread by a fifth to either side; `chance` is between 0 and 1."""
    wait = min(FIRST_RETRY * (1 << min(max(attempts, 1) - 1, 20)), LAST_RETRY)
    return now + wait * (0.8 + 0.4 * chance)


def summary(reply: Reply, token: str) -> str:
    """For the operator; a token that the partner repeats is not in it."""
    words = without_tokens(reply.status_message, token)[:300]
    status = "" if reply.http_status is None else f" HTTP {reply.http_status}"
    code = "" if reply.status_code is None else f" OCPI {reply.status_code}"
    return f"{reply.delivery.value}:{status}{code} {words}".strip()


def party(body: Mapping[str, Any]) -> tuple[str, str]:
    """Whose object this is, or whose token."""
    return str(body["country_code"]), str(body["party_id"])
