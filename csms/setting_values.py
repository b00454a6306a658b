"""What the text of a setting means, however its station writes it."""

from decimal import Decimal


def same(wished: str, has: str | None) -> bool:
    """Do both mean the same? 60, " 60" and 60.0 do, and so do true and TRUE."""
    if has is None:
        return False
    ours, theirs = wished.strip().casefold(), has.strip().casefold()
    return ours == theirs or ((number := _decimal(ours)) is not None and number == _decimal(theirs))


def _decimal(text: str) -> Decimal | None:
    bare = text.removeprefix("-").replace(".", "", 1)
    return Decimal(text) if bare.isascii() and bare.isdecimal() and len(bare) < 20 else None


def number_in(text: str | None) -> int | None:
    """The whole number that a setting is; None where it is none, or of more than nine digits."""
    stripped = (text or "").strip()
    return int(stripped) if stripped.isdecimal() and len(stripped) < 10 else None
