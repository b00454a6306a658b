"""What must be true when the dust has settled: a charge is there once, billed or in review once, and its owner agrees."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from csms.models import ChargeRecord, Review, Transaction

KWH = 1_000_000  # mWh


def disagreements(
    connection: Connection, requests: Sequence[dict[str, Any]], *, longest_s: float = float("inf")
) -> list[str]:
    """A line for each, of the service's own database and of what the partner's platform took, in order. Empty: all is well.
    `longest_s`: no charge can have been longer."""
    asked = (Transaction.id, Transaction.state, Transaction.energy_mwh, Transaction.started_at, Transaction.ended_at)
    charges = connection.execute(select(*asked)).all()
    bills = _counted(connection, ChargeRecord)
    reviews = _counted(connection, Review)
    sessions, cdrs = _sessions(requests), _cdrs(requests)
    return [
        *(line for row in charges for line in _of_one(row, bills[row.id], reviews[row.id])),
        *(line for row in charges if bills[row.id] for line in _lasted(row, longest_s)),
        *(line for row in charges if bills[row.id] for line in _told(row, sessions.get(row.id), cdrs.get(row.id, []))),
        *(f"session {name}: nobody charged" for name in sorted(sessions.keys() - {row.id for row in charges})),
    ]


def _counted(connection: Connection, model: type[ChargeRecord | Review]) -> Counter[str]:
    rows = connection.execute(select(model.transaction_id, func.count()).group_by(model.transaction_id)).all()
    return Counter({row[0]: row[1] for row in rows})


def _of_one(row: Any, bills: int, reviews: int) -> Iterator[str]:
    if row.state != "ended":
        yield f"{row.id}: {row.state}"
    elif bills + reviews != 1:
        yield f"{row.id}: {bills} bills and {reviews} reviews"


def _lasted(row: Any, longest_s: float) -> Iterator[str]:
    """Of what was billed: a person may still say how long the others were."""
    lasted_s = (row.ended_at - row.started_at).total_seconds()
    if not 0 < lasted_s <= longest_s:
        yield f"{row.id}: billed for {lasted_s:.0f} s"


def _told(row: Any, session: dict[str, Any] | None, cdrs: list[dict[str, Any]]) -> Iterator[str]:
    if session is None or session["status"] != "COMPLETED" or round(session["kwh"] * KWH) != row.energy_mwh:
        told = None if session is None else (session["status"], session["kwh"])
        yield f"{row.id}: ended with {row.energy_mwh} mWh, the partner's session is {told}"
    if [round(cdr["total_energy"] * KWH) for cdr in cdrs] != [row.energy_mwh]:
        yield f"{row.id}: ended with {row.energy_mwh} mWh, the partner has CDRs of {[c['total_energy'] for c in cdrs]}"


def _sessions(requests: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """As the partner has them, by id: every PUT and PATCH that it accepted."""
    found: dict[str, dict[str, Any]] = {}
    for request in requests:
        if "/sessions/" in request["path"] and request["status_code"] == 1000:
            name = request["path"].rstrip("/").rpartition("/")[2]
            found[name] = request["body"] if request["method"] == "PUT" else found[name] | request["body"]
    return found


def _cdrs(requests: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Of each session, different ones: one that arrived and whose answer was lost may come again as it was."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for request in requests:
        if (
            request["method"] == "POST"
            and request["path"].rstrip("/").endswith("/cdrs")
            and request["status_code"] == 1000
        ):
            found.setdefault(request["body"]["session_id"], {})[request["body"]["id"]] = request["body"]
    return {session: list(cdrs.values()) for session, cdrs in found.items()}
