"""Who pays by which tariffs: a partner as the core knows it, and what it must not see (TA-06)."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, or_, select, type_coerce

from adapters import v211
from adapters.v211.tariffs import tellable
from crud.models import Partner
from csms.billing.choice import REGULAR, Payer, Told, is_for
from csms.models import Tariff
from csms.prepared import Look

Key = tuple[str, str, str]  # country_code, party_id, casefolded id

_TARIFF = Tariff.__table__.c


class _Shown(NamedTuple):
    """What of a tariff decides who sees it."""

    id: int
    country_code: str
    party_id: str
    tariff_key: str
    removed: bool
    told: str | None
    details: Mapping[str, Any] | None
    type: str | None
    elements: Any


_CURRENT = select(*(_TARIFF[name] for name in _Shown._fields)).where(_TARIFF.current.is_(True))
_NAMES_PARTNERS = type_coerce(_TARIFF.details, Text).like('%"partners"%')
_IN_FORCE = Look(_CURRENT)
_PERHAPS_HIDDEN = Look(_CURRENT.where(or_(_TARIFF.removed.is_(True), _TARIFF.told == Told.OVER.value, _NAMES_PARTNERS)))


def payer(name: str, roles: Iterable[Mapping[str, Any]]) -> Payer:
    """Of a partner's name and the roles of its credentials."""
    return Payer(name=name, parties=frozenset(f"{role['country_code']}*{role['party_id']}" for role in roles))


def payers(connection: Connection, owners: Collection[int]) -> Mapping[int, Payer]:
    """The partners with these ids; a `csms.standing.Payers`."""
    found = connection.execute(select(Partner.id, Partner.name, Partner.roles).where(Partner.id.in_(owners)))
    return {row.id: payer(row.name, row.roles) for row in found}


def hidden_from(connection: Connection, who: Payer | None, version: str = "2.2.1") -> Mapping[Key, int]:
    """The tariffs that `who` does not see, with the row of their current version: meant for others, removed, or over; and
    those that this version cannot tell. None sees what is for anybody."""
    old = version == v211.VERSION
    return {
        (row.country_code, row.party_id, row.tariff_key): row.id
        for row in map(_Shown._make, (_IN_FORCE if old else _PERHAPS_HIDDEN).rows(connection))
        if row.removed
        or row.told == Told.OVER
        or (who is not None and not is_for(row, who))
        or (old and not _in_211(row))
    }


def _in_211(tariff: Any) -> bool:
    """It cannot say for what kind of session a tariff is, nor from when on (V1-11)."""
    return tariff.type in (None, REGULAR) and tariff.told != Told.AWAITED and tellable(tariff.elements)
