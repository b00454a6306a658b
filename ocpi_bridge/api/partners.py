"""Roaming partners: who they are, how each answers, and what it has still to hear. No token is told."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select

from crud.models import HubClient
from crud.partner_reports import Report, reports, state, troubled
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Route
from ocpi_bridge.api.problems import not_found


class PartnerRow(msgspec.Struct, frozen=True, kw_only=True):
    """`our_party` is the party of ours it deals with. `waiting`: objects it must still hear of, `lag_s` since when the oldest
    of them; `given_up`: those it refused, or that wait for a party of a hub. `error_rate`, 0 to 1, and `circuit` (closed,
    half-open, open) of its worst module."""

    name: str
    state: str
    version: str | None
    parties: Sequence[str]
    our_party: str
    registered_at: datetime | None
    tokens_pulled_at: datetime | None
    waiting: int
    given_up: int
    lag_s: float
    last_success_at: datetime | None
    last_failure_at: datetime | None
    error_rate: float
    circuit: str


class Partners(msgspec.Struct, frozen=True, kw_only=True):
    items: Sequence[PartnerRow]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    module: str
    role: str
    url: str


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A party behind a hub, by its HubClientInfo."""

    party: str
    role: str
    status: str
    last_updated: datetime


class PartnerDetail(msgspec.Struct, frozen=True, kw_only=True):
    partner: PartnerRow
    versions_url: str | None
    endpoints: Sequence[Endpoint]
    hub_clients: Sequence[Client]


class ModuleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """`failures` in a row; while the circuit is open nothing is sent there until `open_until`, then one call tries."""

    module: str
    circuit: str
    calls: int
    errors: int
    error_rate: float
    failures: int
    last_success_at: datetime | None
    last_failure_at: datetime | None
    last_error: str | None
    opened_at: datetime | None
    open_until: datetime | None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """`next_attempt_at` None: given up, until the object changes or the party is back."""

    module: str
    object_id: str
    attempts: int
    next_attempt_at: datetime | None
    why: str


class Health(msgspec.Struct, frozen=True, kw_only=True):
    partner: PartnerRow
    modules: Sequence[ModuleHealth]
    undelivered: Sequence[Trouble]


def list_partners(asked: Asked[None, None]) -> Partners:
    return Partners(items=[_row(report) for report in reports(asked.connection, asked.now)])


def partner(asked: Asked[None, None]) -> PartnerDetail:
    found = _named(asked)
    query = select(HubClient.__table__).where(HubClient.partner_id == found.partner.id)
    ordered = query.order_by(HubClient.country_code, HubClient.party_id, HubClient.role)
    return PartnerDetail(
        partner=_row(found),
        versions_url=found.partner.versions_url,
        endpoints=[
            Endpoint(module=endpoint["identifier"], role=endpoint["role"], url=endpoint["url"])
            for endpoint in found.partner.endpoints
        ],
        hub_clients=[
            Client(
                party=f"{row.country_code}-{row.party_id}",
                role=row.role,
                status=row.status,
                last_updated=row.last_updated,
            )
            for row in asked.connection.execute(ordered)
        ],
    )


def health(asked: Asked[None, None]) -> Health:
    found = _named(asked)
    names = [name for name in ModuleHealth.__struct_fields__ if name != "circuit"]
    return Health(
        partner=_row(found),
        modules=[
            ModuleHealth(circuit=state(module, asked.now), **{name: getattr(module, name) for name in names})
            for module in found.modules
        ],
        undelivered=[
            Trouble(
                module=row.module,
                object_id=row.object_id,
                attempts=row.attempts,
                next_attempt_at=row.next_attempt_at if row.stopped is None else None,
                why=row.stopped or row.last_error,
            )
            for row in troubled(asked.connection, found.partner.id)
        ],
    )


def _named(asked: Asked[None, None]) -> Report:
    found = reports(asked.connection, asked.now, name=asked.path["name"])
    if not found:
        raise not_found("partner", asked.path["name"])
    return found[0]


def _row(report: Report) -> PartnerRow:
    known: dict[str, Any] = {name: getattr(report.partner, name) for name in OF_PARTNER}
    known |= {name: getattr(report, name) for name in OF_REPORT}
    roles = report.partner.roles
    return PartnerRow(
        parties=[f"{role['country_code']}-{role['party_id']} {role['role']}" for role in roles],
        our_party=f"{report.partner.country_code}-{report.partner.party_id}",
        **known,
    )


OF_PARTNER = ("name", "state", "version", "registered_at", "tokens_pulled_at")
OF_REPORT = ("waiting", "given_up", "lag_s", "last_success_at", "last_failure_at", "error_rate", "circuit")

ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/partners",
        role=Role.VIEWER,
        summary="Roaming partners, how each answers, and how far it is behind.",
        handler=list_partners,
        output=Partners,
    ),
    Route(
        method="GET",
        path="/partners/{name}",
        role=Role.VIEWER,
        summary="A partner with its endpoints and, of a hub, the parties behind it.",
        handler=partner,
        output=PartnerDetail,
        path_types={"name": Name},
    ),
    Route(
        method="GET",
        path="/partners/{name}/health",
        role=Role.VIEWER,
        summary="How each module of a partner answers, and what it could not be told.",
        handler=health,
        output=Health,
        path_types={"name": Name},
    ),
)
