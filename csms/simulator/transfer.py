"""Files over HTTP, as a charger fetches and puts them: small, with a time limit, and without a client of its own."""

import asyncio
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

TIMEOUT_S = 30.0
MOST_BYTES = 64 * 1024 * 1024
NOT_BY_PUT = (404, 405, 501)


class TransferFailed(Exception):
    """The server was not there, or said no."""


class NotSpoken(TransferFailed):
    """The address is of a protocol that this charger does not know."""


async def fetch(url: str) -> bytes:
    return await asyncio.to_thread(_exchange, "GET", url, None)


async def put(url: str, name: str, content: bytes) -> None:
    """PUT, or POST where the server wants that. An address that ends in a slash is a folder."""
    address = url + name if urlsplit(url).path.endswith("/") and not urlsplit(url).query else url
    await asyncio.to_thread(_put, address, content)


def _put(url: str, content: bytes) -> None:
    try:
        _exchange("PUT", url, content)
    except TransferFailed as failed:
        if not isinstance(failed.__cause__, HTTPError) or failed.__cause__.code not in NOT_BY_PUT:
            raise
        _exchange("POST", url, content)


def _exchange(method: str, url: str, content: bytes | None) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):
        raise NotSpoken(f"{urlsplit(url).scheme or 'nothing'} is not spoken here")
    headers = {} if content is None else {"Content-Type": "application/octet-stream"}
    try:
        with urlopen(Request(url, data=content, headers=headers, method=method), timeout=TIMEOUT_S) as answer:  # noqa: S310
            body: bytes = answer.read(MOST_BYTES)
            return body
    except HTTPError as refusal:
        refusal.close()
        raise TransferFailed(f"HTTP {refusal.code}") from refusal
    except (OSError, ValueError) as failure:
        raise TransferFailed(type(failure).__name__) from failure
