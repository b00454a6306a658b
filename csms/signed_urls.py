"""An address that we hand to a charger opens one file to that charger for a day; without SECRET_KEY nobody makes another."""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

VALID_FOR: Final = timedelta(hours=24)
LONGEST: Final = 512  # characters: what the field for an address holds at least

_PURPOSE = b"roambridge firmware address"


class AddressTooLong(Exception):
    """PUBLIC_URL and the station's identity leave no room for the rest of the address."""


def signing_key(secret_key: str) -> bytes:
    """A key of its own, so that no signature says anything of what else SECRET_KEY protects."""
    return hmac.digest(secret_key.encode(), _PURPOSE, hashlib.sha256)


def firmware_url(
    public_url: str, key: bytes, *, image_id: int, name: str, station_id: str, expires_at: datetime
) -> str:
    """The address from which this station may fetch this image until `expires_at`, cut to the second. Raises
    AddressTooLong."""
    expires = int(expires_at.timestamp())
    told = {"station": station_id, "expires": expires, "signature": _signature(key, image_id, station_id, expires)}
    url = f"{public_url}/firmware/{image_id}/{quote(name, safe='')}?{urlencode(told, quote_via=quote)}"
    return fitting(url)


def opens(key: bytes, *, image_id: int, station_id: str, expires: int, signature: str, now: datetime) -> bool:
    """Whether we signed this, and it has not expired."""
    ours = hmac.compare_digest(_signature(key, image_id, station_id, expires).encode(), signature.encode())
    return ours and now.timestamp() <= expires


def fitting(url: str) -> str:
    if len(url) > LONGEST:
        raise AddressTooLong(f"an address of {len(url)} characters does not fit: stations take {LONGEST}")
    return url


def _signature(key: bytes, image_id: int, station_id: str, expires: int) -> str:
    """Numbers first: no identity, whatever is in it, reads as another combination."""
    said = f"{image_id}\n{expires}\n{station_id}".encode()
    return base64.urlsafe_b64encode(hmac.digest(key, said, hashlib.sha256)).rstrip(b"=").decode()
