"""The only door to other people's servers: requests go to checked addresses, answers end in time and in size."""

import asyncio
import re
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore
import httpx

from ocpi_bridge.kept_connections import SENDING, KeptConnections

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# IANA's special-purpose registries. An own table: `ipaddress.is_global` differs between Python's patch releases.
NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, the clouds' metadata servers among them
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# All else of IPv6 is loopback, v4-mapped, NAT64, unique local, link-local, multicast or not assigned.
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)
ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)$", re.IGNORECASE)
# What the resolver takes: it raises no OSError for an empty or long label.
NAME = re.compile(r"(?=.{1,254}$)[^.]{1,63}(?:\.[^.]{1,63})*\.?")
CONNECT_ATTEMPTS = 4  # addresses of one name that are tried; all are checked


class Refused(Exception):
    """The URL is forbidden by policy; its text is one sentence for people. Nothing was sent."""


class Unreachable(Exception):
    """No connection could be made: nothing of the request left us."""


class Unanswered(Exception):
    """The request was sent, perhaps acted on, and no whole answer came back in time and size."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """`headers` compares names without case; `body` is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_V4)
    return address in GLOBAL_UNICAST_V6 and not any(address in network for network in NOT_PUBLIC_V6)


class OutboundPolicy:
    """Which URLs we may call: public https, and what `allow` names (the setting OUTBOUND_ALLOW).

    An entry of `allow` is a host name, an address or a network. What it names may be private and may be plain http.
    Raises ValueError for an entry that is none of these.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        hosts: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (text.strip() for text in allow)):
            try:
                networks.append(ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                if not re.fullmatch(r"[\w.-]+", entry):
                    raise ValueError(f"OUTBOUND_ALLOW: {entry!r} is neither a host nor a network") from None
                hosts.add(_plain(entry))
        self._hosts = frozenset(hosts)
        self._networks = tuple(networks)

    def check_url(self, url: str) -> httpx.URL:
        """The parsed URL, when nothing in its text forbids it; the addresses of its name are checked on connecting."""
        try:
            parsed = httpx.URL(url)
            _ = parsed.host  # reads punycode, which may be none: a partner's domain may hold any label
        except (httpx.InvalidURL, TypeError, ValueError):
            raise Refused("The URL cannot be read.") from None
        host = parsed.raw_host.decode("ascii")
        if parsed.scheme not in ("https", "http"):
            raise Refused(f"Only https URLs are called, not {parsed.scheme or 'a relative one'}.")
        if not host:
            raise Refused("The URL names no host.")
        if parsed.userinfo:
            raise Refused("A URL may not carry a user name or password.")
        if parsed.port is not None and not 0 < parsed.port < 65536:
            raise Refused(f"{parsed.port} is no port.")
        literal = _literal(host)
        if literal is not None:
            self.check_addresses(parsed.scheme, host, [host])
        elif ENDS_IN_A_NUMBER.search(_plain(host)):
            raise Refused(f"{host} is an address written in a misleading way.")
        elif not NAME.fullmatch(host):
            raise Refused(f"{host[:255]} is no host name.")
        elif parsed.scheme == "http" and not (self._networks or self._allows_host(host)):
            raise Refused(f"{host} is called over https only.")
        return parsed

    def check_addresses(self, scheme: str, host: str, addresses: Iterable[str]) -> None:
        """Raises Refused unless every address may be reached: one bad address among good ones is an attack."""
        if self._allows_host(host):
            return
        for text in addresses:
            address = ip_address(text)
            if any(address in network for network in self._networks):
                continue
            if not is_public(address):
                raise Refused(f"{host} is not on the public internet, and OUTBOUND_ALLOW does not name it.")
            if scheme != "https":
                raise Refused(f"{host} is called over https only.")

    def _allows_host(self, host: str) -> bool:
        return _plain(host) in self._hosts


def _plain(host: str) -> str:
    return host.casefold().rstrip(".")


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


class Guarded:
    """HTTP requests that cannot be led astray, held up or filled up by the other side.

    No redirect is followed, no proxy of the environment used, no cookie kept, no answer unpacked. A name is resolved
    once per connection, every address of it checked, and the connection made to one of those addresses, with the name
    kept for TLS and Host, so a name that changes between check and use gains nothing.
    """

    def __init__(
        self,
        policy: OutboundPolicy,
        *,
        timeout_s: float = 10.0,
        max_bytes: int = 10 * 2**20,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout_s` covers resolving, connecting and the whole answer; `resolve`, `tls` replace the system's."""
        self.policy = policy
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        # Threads of our own: a name server that hangs must not hold up what else the process runs in threads.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="outbound-resolve")
        self._resolve = resolve or self._system_resolve
        _find_no_sniffio()
        context = tls or httpx.create_ssl_context(trust_env=False)
        self._backends = {scheme: _VettedBackend(policy, scheme, self._resolve) for scheme in ("https", "http")}
        self._transports = {scheme: _VettedTransport(backend, context) for scheme, backend in self._backends.items()}

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
    ) -> Response:
        """The whole answer, whatever its status. Raises Refused, Unreachable or Unanswered, and nothing else."""
        target = self.policy.check_url(url)
        within_s = self._timeout_s if timeout_s is None else timeout_s
        sent = False

        def sending() -> None:
            nonlocal sent
            sent = True

        request = httpx.Request(
            method,
            target,
            headers={"User-Agent": "roambridge", "Accept-Encoding": "identity", **headers},
            content=content,
            extensions={SENDING: sending, "timeout": {"connect": within_s}},
        )
        try:
            async with asyncio.timeout(within_s):
                return await self._exchange(request, self._max_bytes if max_bytes is None else max_bytes)
        except TimeoutError:
            raise (Unanswered if sent else Unreachable)(f"no whole answer within {within_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise (Unanswered if sent else Unreachable)(f"{type(error).__name__}: {error}") from None

    async def check(self, url: str) -> None:
        """Raises Refused when `url` would be refused now, Unreachable when its name has no address; sends nothing."""
        target = self.policy.check_url(url)
        host = target.raw_host.decode("ascii")
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._resolve(host, target.port or 443)
        except (TimeoutError, OSError) as error:
            raise Unreachable(f"{host} has no address: {error}") from None
        self.policy.check_addresses(target.scheme, host, addresses)

    async def aclose(self) -> None:
        """Connections are closed, and none is made any more: requests that are on their way are Unreachable or Unanswered."""
        for backend in self._backends.values():
            backend.closed = True
        for transport in self._transports.values():
            await transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, request: httpx.Request, max_bytes: int) -> Response:
        response = await self._transports[request.url.scheme].handle_async_request(request)
        async with aclosing(response):
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise Unanswered(f"the answer is larger than {max_bytes} bytes")
        return Response(status=response.status_code, headers=response.headers, body=bytes(body))

    async def _system_resolve(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _VettedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses only. It sits below the pool, so no request can get around it."""

    def __init__(self, policy: OutboundPolicy, scheme: str, resolve: Resolve) -> None:
        self._policy = policy
        self._scheme = scheme
        self._resolve = resolve
        self._network = httpcore.AnyIOBackend()
        self.closed = False  # a pool that was closed would not know of connections that are made now

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} has no address: {error}") from None
        self._policy.check_addresses(self._scheme, host, addresses)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        tried = addresses[:CONNECT_ATTEMPTS]
        for address in tried:
            try:
                stream = await self._network.connect_tcp(
                    address, port, None if timeout is None else timeout / len(tried), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            if not self.closed:
                return stream
            await stream.aclose()
            raise httpcore.ConnectError("closed meanwhile")
        raise failure

    async def connect_unix_socket(self, *_args: Any, **_kwargs: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no unix sockets")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _find_no_sniffio() -> None:
    """httpcore looks for it on the disk several times a call, which costs as much as the rest of the call; where it is not
    installed, Python is told so once."""
    if find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]  # so an import fails at once


class _VettedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over our backend. httpx offers no parameter for that, so the pool it made is replaced."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = KeptConnections(backend, tls)
