"""Tariffs and their versions: what sessions are priced by, for whom, and where."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select

from crud.models import Partner
from crud.payers import payer
from csms import tariff_changes, tariff_list
from csms.journal import append
from csms.models import Tariff
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Number, Page, Paging, Route, cursor_number, paged
from ocpi_bridge.api.problems import not_found


class TariffsQuery(Paging, frozen=True, kw_only=True):
    """`tariff`: one of them, by the id that partners know. `partner`: what is for this one, by its name. `all`: also older
    versions and removed ones."""

    tariff: Name | None = None
    partner: Name | None = None
    all: bool = False


class TariffRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version; `id` is ours, `tariff_id` what partners know. `partners` null: for everybody; empty: for the operator's own
    cards. `state`: in_force, awaited, over, older, removed."""

    id: int
    country_code: str
    party_id: str
    tariff_id: str
    version: int
    state: str
    type: str | None
    currency: str
    partners: Sequence[str] | None
    start_date_time: str | None
    end_date_time: str | None
    last_updated: datetime


class TariffDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`details`: all else that the operator's file says. `evses`: the uids of those whose connectors name it."""

    tariff: TariffRow
    elements: Sequence[Any]
    details: Mapping[str, Any]
    evses: Sequence[str]


def list_tariffs(asked: Asked[TariffsQuery, None]) -> Page[TariffRow]:
    wanted, after = asked.query, cursor_number(asked.query.after)
    who = None
    if wanted.partner is not None:
        query = select(Partner.name, Partner.roles).where(Partner.name == wanted.partner)
        found = asked.connection.execute(query).one_or_none()
        if found is None:
            raise not_found("partner", wanted.partner)
        who = payer(found.name, found.roles)
    rows = tariff_list.versions(asked.connection, every=wanted.all, tariff_id=wanted.tariff, payer=who)
    left = [row for row in sorted(rows, key=lambda row: row.id) if after is None or row.id > after]
    return paged(left[: wanted.limit + 1], wanted.limit, lambda row: row.id, _row)


def tariff(asked: Asked[None, None]) -> TariffDetail:
    row = _found(asked)
    details = {name: value for name, value in row.details.items() if name not in TariffRow.__struct_fields__}
    evses = tariff_changes.named_at(asked.connection, tariff_changes.key_of(row)) if row.current else []
    return TariffDetail(tariff=_row(row), elements=row.elements, details=details, evses=evses)


def remove(asked: Asked[None, None]) -> None:
    row = _found(asked)
    party = (row.country_code, row.party_id)
    append(asked.connection, tariff_changes.remove(asked.connection, party, row.tariff_id, asked.now), now=asked.now)


def _found(asked: Asked[None, None]) -> Any:
    query = select(Tariff.__table__).where(Tariff.id == asked.path["id"])
    row = asked.connection.execute(query).one_or_none()
    if row is None:
        raise not_found("tariff", asked.path["id"])
    return row


def _row(row: Any) -> TariffRow:
    names = ("id", "country_code", "party_id", "tariff_id", "version", "type", "currency", "last_updated")
    said = ("partners", "start_date_time", "end_date_time")
    return TariffRow(
        state=tariff_list.state(row),
        **{name: getattr(row, name) for name in names},
        **{name: row.details.get(name) for name in said},
    )


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/tariffs",
        role=Role.VIEWER,
        summary="Tariffs, in the order in which their versions came.",
        handler=list_tariffs,
        query=TariffsQuery,
        output=Page[TariffRow],
        problems=(404,),
    ),
    Route(
        method="GET",
        path="/tariffs/{id}",
        role=Role.VIEWER,
        summary="A version of a tariff, and where it is named.",
        handler=tariff,
        output=TariffDetail,
        path_types={"id": Number},
    ),
    Route(
        method="POST",
        path="/tariffs/{id}/remove",
        role=Role.OPERATOR,
        summary="Begin no session with the tariff any more, and have partners forget it; no connector may name it.",
        handler=remove,
        status=204,
        path_types={"id": Number},
        problems=(409,),
    ),
)
