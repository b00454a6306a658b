"""Bills that were wrong: taken back whole, and made anew; a person's doing, whose name and reason stay with them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from csms import credits, people
from csms.requests import PERSON
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Input, Moment, Name, Reason, Route
from ocpi_bridge.api.problems import Problem

Person = Annotated[
    str, Meta(min_length=1, max_length=64, description="Who decides it: a user who may operate (`roambridge user`).")
]


class Credit(Input, frozen=True, kw_only=True):
    person: Person
    reason: Reason


class Correct(Input, frozen=True, kw_only=True):
    """What is absent stays as it was billed. `tariff`: the id of the one by whose version in force it is priced."""

    person: Person
    reason: Reason
    energy_mwh: Annotated[int, Meta(ge=0, le=10**12)] | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    tariff: Name | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of the credit, and of the bill that stands in the place of the credited one; null: none does."""

    credit: str
    charge_record: str | None = None


def decided_by(asked: Asked[Any, Any], name: str) -> str:
    """Whose word it is, and by which key it came: a program takes no money back of its own. Raises Problem."""
    person = people.find(asked.connection, name)
    if person is None or not person.may(Role.OPERATOR):
        detail = f"{name} is no user who may operate: a bill is changed by a person, never by a program"
        raise Problem(status=403, code="needs_a_person", detail=detail)
    return f"{PERSON}{person.name} ({asked.by})"


def credit(asked: Asked[None, Credit]) -> Made:
    who = decided_by(asked, asked.body.person)
    return Made(credit=credits.credit(asked.connection, asked.path["id"], who, asked.body.reason, asked.now))


def correct(asked: Asked[None, Correct]) -> Made:
    change = msgspec.structs.asdict(asked.body)
    who, reason = decided_by(asked, change.pop("person")), change.pop("reason")
    credit_id, made = credits.correct(asked.connection, asked.path["id"], who, reason, asked.now, **change)
    return Made(credit=credit_id, charge_record=made)


ROUTES: Sequence[Route] = (
    Route(
        method="POST",
        path="/charge-records/{id}/credit",
        role=Role.OPERATOR,
        summary="Take a bill back, all of it; its partner gets a credit CDR.",
        handler=credit,
        body=Credit,
        output=Made,
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/charge-records/{id}/correct",
        role=Role.OPERATOR,
        summary="Take a bill back, and bill the session with what is known better.",
        handler=correct,
        body=Correct,
        output=Made,
        problems=(409,),
    ),
)
