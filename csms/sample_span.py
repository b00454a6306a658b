"""Between which receptions the samples of a transaction lie, so that who reads them looks into those months only."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import ColumnElement, Table

from csms.models import MeterSampleRow, Transaction

BEFORE: Final = timedelta(days=1)
AFTER: Final = timedelta(days=31)

_T = cast(Table, Transaction.__table__)
COLUMNS: Final = (_T.c.started_received_at, _T.c.sampled_since, _T.c.sampled_until)


class Span(NamedTuple):
    since: datetime
    until: datetime

    def holds(self) -> ColumnElement[bool]:
        """Of a sample's row: that it was received in here."""
        return MeterSampleRow.received_at.between(self.since, self.until)


def span(transaction: Mapping[str, Any]) -> Span:
    """Of a row with COLUMNS: from a day before the reception of its start to 31 days after, and as far beyond as one of its
    samples was received (`stretched`): a long session, a late sample, a clock of ours that jumped."""
    started = transaction["started_received_at"]
    return Span(
        since=transaction.get("sampled_since") or started - BEFORE,
        until=transaction.get("sampled_until") or started + AFTER,
    )


def span_of(row: Any) -> Span:
    """As `span`, of what has the COLUMNS as attributes."""
    return span({column.name: getattr(row, column.name) for column in COLUMNS})


def stretched(transaction: Mapping[str, Any], received_at: datetime) -> dict[str, datetime]:
    """What a sample of it that is received now changes in the transaction: most often nothing."""
    known = span(transaction)
    if received_at > known.until:
        return {"sampled_until": received_at}
    return {"sampled_since": received_at} if received_at < known.since else {}


def around(transactions: Iterable[Mapping[str, Any]]) -> Span:
    """One for all of them; there is at least one."""
    spans = [span(transaction) for transaction in transactions]
    return Span(since=min(one.since for one in spans), until=max(one.until for one in spans))
