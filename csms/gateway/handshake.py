"""What the HTTP request of a charger says and whether we may believe it: identity, address, password, subprotocols. Pure."""

import base64
import binascii
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

from websockets.datastructures import Headers
from websockets.http11 import Request

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LONGEST_STATION_ID = 48

# SOAP speaks 1.2, 1.5 and 1.6; a station that asks for it in a handshake needs words, not a silent close (A06).
SOAP: Final = frozenset({"ocpp1.2", "ocpp1.2s", "ocpp1.5", "ocpp1.5s", "ocpp1.6s"})


@dataclass(frozen=True)
class Peer:
    """`address` is the charger's, or the last one that a trusted proxy vouches for. `secure`: TLS reached us or it."""

    address: Address
    secure: bool


def station_id(path: str, prefix: str) -> str | None:
    """The last segment, percent-decoded, case kept (B11); None when it is no identity.

    A slash too many at either end is a common way to write the address into a charger, and harms nobody.
    """
    path = path.partition("?")[0]
    if not path.startswith(prefix + "/"):
        return None
    segment = path[len(prefix) :].strip("/")
    if "/" in segment:
        return None
    try:
        identity = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return None
    return identity if 0 < len(identity) <= LONGEST_STATION_ID and identity.isprintable() else None


def peer(remote: str, encrypted: bool, headers: Headers, trusted: Collection[Network]) -> Peer:
    """X-Forwarded-For is read from its end, as far as trusted proxies wrote it; X-Forwarded-Proto counts only from one."""
    address = _address(remote) or IPv4Address(0)
    if not within(address, trusted):
        return Peer(address, encrypted)
    protocols = [word.strip().lower() for line in headers.get_all("X-Forwarded-Proto") for word in line.split(",")]
    secure = encrypted or protocols[-1:] == ["https"] or protocols[-1:] == ["wss"]
    hops = [hop for line in headers.get_all("X-Forwarded-For") for hop in line.split(",")]
    for hop in reversed(hops):
        named = _address(hop.strip())
        if named is None:
            break
        address = named
        if not within(address, trusted):
            break
    return Peer(address, secure)


def forwarded_certificate(remote: str, headers: Headers, trusted: Collection[Network], name: str | None) -> str | None:
    """What the header `name` holds, which counts only from a trusted proxy. None: there was no client certificate."""
    if name is None or not within(_address(remote) or IPv4Address(0), trusted):
        return None
    lines = headers.get_all(name)
    return lines[-1].strip() or None if lines else None


def within(address: Address, networks: Collection[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def offered(headers: Headers) -> Sequence[str]:
    """The subprotocols in the charger's order, over all header lines."""
    lines = headers.get_all("Sec-WebSocket-Protocol")
    return [word.strip() for line in lines for word in line.split(",") if word.strip()]


def is_websocket(request: Request) -> bool:
    return request.method == "GET" and any(
        word.strip().lower() == "websocket" for line in request.headers.get_all("Upgrade") for word in line.split(",")
    )


def basic_credentials(headers: Headers) -> bytes | None:
    """What HTTP Basic carries, `user:password` as bytes; None without the header, empty when it cannot be read."""
    lines = headers.get_all("Authorization")
    if not lines:
        return None
    scheme, _, encoded = lines[0].strip().partition(" ")
    encoded = encoded.strip()
    if len(lines) != 1 or scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def password_of(credentials: bytes, identity: str) -> bytes | None:
    """The password when the user is `identity`, else None. The password may be any bytes, colons included."""
    for encoding in ("utf-8", "latin-1"):
        user = identity.encode(encoding, "replace") + b":"
        if credentials.startswith(user):
            return credentials[len(user) :]
    return None


def _address(text: str) -> Address | None:
    if text.count(":") == 1:  # some proxies add the port
        text = text.partition(":")[0]
    elif text.startswith("["):
        text = text[1:].partition("]")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
