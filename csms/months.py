"""Months of UTC, by which PostgreSQL keeps samples and messages."""

from datetime import UTC, datetime


def month_of(at: datetime) -> datetime:
    """When the month began in which this moment is."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def months_later(month: datetime, by: int = 1) -> datetime:
    """So many months after one began; before it, where `by` is negative."""
    years, months = divmod(month.month - 1 + by, 12)
    return month.replace(year=month.year + years, month=months + 1)
