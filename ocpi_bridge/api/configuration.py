"""What is not as it should be in stations' settings, and wishes that nobody has any more."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from csms import configuration
from csms.users import Role
from ocpi_bridge.api.asked import Asked, Name, Route
from ocpi_bridge.api.problems import not_found
from ocpi_bridge.api.stations import Setting, settings_of


class DriftQuery(msgspec.Struct, frozen=True, kw_only=True):
    station: Name | None = None


class DriftRow(msgspec.Struct, frozen=True, kw_only=True):
    """`actual` null: never read, or the station has no such setting. `since`: when the value was wished for."""

    station_id: str
    key: str
    desired: str
    actual: str | None
    state: str
    since: datetime
    detail: str | None


class Drifts(msgspec.Struct, frozen=True, kw_only=True):
    items: Sequence[DriftRow]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    items: Sequence[Setting]


def drift(asked: Asked[DriftQuery, None]) -> Drifts:
    found = configuration.drift(asked.connection, asked.query.station)
    return Drifts(items=[_drift(row, asked) for row in found])


def _drift(row: configuration.Drift, asked: Asked[Any, None]) -> DriftRow:
    known = {name: getattr(row, name) for name in DriftRow.__struct_fields__}
    known |= {name: asked.setting(row.key, known[name]) for name in ("desired", "actual")}
    return DriftRow(**known)


def settings(asked: Asked[None, None]) -> Settings:
    configuration.settings(asked.connection, asked.path["station_id"])  # raises for a station that nobody knows
    return Settings(items=settings_of(asked, asked.path["station_id"]))


def forget(asked: Asked[None, None]) -> None:
    if not configuration.forget(asked.connection, asked.path["station_id"], asked.path["key"]):
        raise not_found("wish", asked.path["key"])


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/drift",
        role=Role.VIEWER,
        summary="Settings that are not as they should be.",
        handler=drift,
        query=DriftQuery,
        output=Drifts,
    ),
    Route(
        method="GET",
        path="/stations/{station_id}/configuration",
        role=Role.VIEWER,
        summary="A station's settings as it last told them, beside what they should be.",
        handler=settings,
        output=Settings,
    ),
    Route(
        method="DELETE",
        path="/stations/{station_id}/configuration/{key}",
        role=Role.OPERATOR,
        summary="Wish nothing of a setting any more; the station keeps what it has.",
        handler=forget,
        status=204,
    ),
)
