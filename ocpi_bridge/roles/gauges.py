"""What is measured in the database: one process tells it for all, at each scrape."""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from crud.partner_reports import CLOSED, HALF_OPEN, OPEN, Report, reports
from crud.partners import PartnerState
from csms import reviews, skew
from csms.alerts import open_by_kind
from csms.journal_lag import facts_behind, seconds_behind
from ocpi_bridge.roles.ground import Clock, Ground

CIRCUITS = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
PARTNER_GAUGES: dict[str, tuple[str, Callable[[Report], float]]] = {
    "waiting": ("Objects that a partner must still hear of", lambda one: one.waiting),
    "given_up": ("Objects that a partner refused, or that wait for a party of a hub", lambda one: one.given_up),
    "lag_seconds": ("Since when a partner is behind", lambda one: one.lag_s),
    "error_rate": ("Of the last calls to a partner's worst module", lambda one: one.error_rate),
    "circuit": ("0 a partner is called, 1 its worst module is tried, 2 left alone", lambda one: CIRCUITS[one.circuit]),
    "last_success_timestamp_seconds": (
        "When a partner answered last",
        lambda one: one.last_success_at.timestamp() if one.last_success_at else 0.0,
    ),
}


def measure(ground: Ground, *, here: Callable[[], bool] = lambda: True) -> None:
    """`here`: whether this process is the one."""
    gauges, clock = ground.metrics.gauges, ground.clock

    def told(read: Callable[[Connection], Mapping[str, float]]) -> Callable[[], Mapping[str, float]]:
        found = ground.told(read)
        return lambda: found() if here() else {}

    gauges("journal_behind", "Facts not passed yet, 10,000 at most", "subscriber", told(facts_behind))
    gauges(
        "journal_lag_seconds",
        "Since when a subscriber's next fact waits",
        "subscriber",
        told(lambda connection: seconds_behind(connection, clock())),
    )
    gauges("station_clock_skew_seconds", "A station's clock ahead of ours", "station_id", told(skew.measured))
    gauges("stations_by_clock_skew", "Stations off by up to", "skew", told(skew.spread))
    gauges("clock_skew_share", "Share of measured clocks off by more than", "limit", told(skew.share_over_limit))
    gauges(
        "waiting_for_a_person",
        "Held bills and refunds that are open",
        "what",
        told(lambda connection: reviews.open_by_age(connection, clock())),
    )
    gauges("alerts_open", "Alerts that nobody and nothing has closed", "kind", told(open_by_kind))
    for name, (about, read) in PARTNER_GAUGES.items():
        gauges(f"partner_{name}", about, "partner", told(_of_partners(read, clock)))


def _of_partners(read: Callable[[Report], float], clock: Clock) -> Callable[[Connection], Mapping[str, float]]:
    def told(connection: Connection) -> Mapping[str, float]:
        here = [one for one in reports(connection, clock()) if one.partner.state == PartnerState.REGISTERED]
        return {one.partner.name: read(one) for one in here}

    return told
