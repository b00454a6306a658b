"""When it is night at a station: three o'clock on its own site, and a little later for each by its own name."""

from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

AT = time(3)
SPREAD_S = 30 * 60


def next_night(station_id: str, zone: str | None, now: datetime) -> datetime:
    """The next one after `now`. A night whose three o'clock the clocks jump over, or strike twice, is one night; a site
    without a zone that is known lives in UTC."""
    site = _zone(zone)
    today = now.astimezone(site).date()
    nights = (_night(today + timedelta(days=days), site, station_id) for days in (-1, 0, 1, 2))
    return next(night for night in nights if night > now)


def _night(day: date, site: ZoneInfo, station_id: str) -> datetime:
    late = int.from_bytes(blake2b(station_id.encode(), digest_size=8).digest()) % SPREAD_S
    return datetime.combine(day, AT, site).astimezone(UTC) + timedelta(seconds=late)


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
