import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from httpcore._synchronization import current_async_library

from ocpi_bridge.outbound import Guarded, OutboundPolicy, Refused, Unanswered, Unreachable, is_public
from tests.listening import listening

LOOPBACK = ["127.0.0.0/8"]
Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Partner:
    """A TCP server that reads one request head and then does what `answer` says; `heads` is what arrived."""

    def __init__(self, answer: Answer) -> None:
        self.heads: list[bytes] = []
        self.sent_bytes = 0
        self.disconnected = asyncio.Event()
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self._answer(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.disconnected.set()


@asynccontextmanager
async def partner(
    answer: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Partner, int]]:
    one = Partner(answer)
    async with listening(one.serve, host, tls=tls) as port:
        yield one, port


@asynccontextmanager
async def guard(allow: Sequence[str] = (), **options: object) -> AsyncIterator[Guarded]:
    guarded = Guarded(OutboundPolicy(allow), **options)  # type: ignore[arg-type]
    try:
        yield guarded
    finally:
        await guarded.aclose()


def fixed(data: bytes) -> Answer:
    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


OK = fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Limit: 50\r\nSet-Cookie: a=b\r\n\r\n{}")


# ---- what may be called ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/ocpi",
        "https://10.1.2.3/",
        "https://172.20.0.1/",
        "https://192.168.1.1:8443/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::808:808]/",
        "https://[fc00::1]/",
        "https://[fd12:3456::1]/",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001:db8::1]/",
    ],
)
async def test_address_off_the_public_internet_is_refused(url: str) -> None:  # TR-35
    async with guard() as guarded:
        with pytest.raises(Refused, match="not on the public internet"):
            await guarded.request("GET", url, {})


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.01", "1.2.3.4.5", "127.0.0.1."]
)
@pytest.mark.parametrize("allow", [[], LOOPBACK])
async def test_address_in_disguise_is_refused_even_where_the_address_is_allowed(host: str, allow: list[str]) -> None:
    async with guard(allow) as guarded:  # TR-35
        with pytest.raises(Refused, match=r"misleading|public|cannot be read"):
            await guarded.request("GET", f"https://{host}/", {})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://8.8.8.8/", "https only"),
        ("http://example.com/", "https only"),
        ("ftp://example.com/", "Only https"),
        ("file:///etc/passwd", "Only https"),
        ("//example.com/x", "Only https"),
        ("not a url", "Only https"),
        ("https:///versions", "no host"),
        ("https://user:secret@example.com/", "user name"),
        ("https://example.com\\@127.0.0.1/", "user name"),
        ("https://example.com:0/", "no port"),
        ("https://exa\nmple.com/", "cannot be read"),
        ("https://a..b/", "no host name"),
        ("https://.example/", "no host name"),
        (f"https://{'a' * 64}.example/", "no host name"),
        (f"https://{'abc.' * 70}example/", "no host name"),
        ("https://xn--a.example/", "cannot be read"),
        ("https://１２７.0.0.1/", "cannot be read"),
    ],
)
async def test_url_that_is_not_plain_https_is_refused_with_a_reason(url: str, reason: str) -> None:
    async with guard() as guarded:  # TR-35
        with pytest.raises(Refused, match=reason) as refused:
            await guarded.request("GET", url, {})
    assert "secret" not in str(refused.value)


async def test_hostname_that_resolves_to_loopback_is_refused_before_a_connection() -> None:  # TR-35
    async with partner(OK) as (there, port), guard() as guarded:
        with pytest.raises(Refused, match="localhost is not on the public internet"):
            await guarded.request("GET", f"https://localhost:{port}/", {})
        with pytest.raises(Refused):
            await guarded.check(f"https://localhost:{port}/")
    assert there.heads == []


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:  # TR-35
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    async with guard(resolve=resolve) as guarded:
        with pytest.raises(Refused):
            await guarded.request("GET", "https://partner.example/", {})


async def test_name_that_changes_its_address_after_the_check_gains_nothing() -> None:  # TR-35, DNS rebinding
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    async with partner(OK) as (there, port), guard(LOOPBACK, resolve=resolve) as guarded:
        response = await guarded.request("GET", f"http://partner.example:{port}/x", {})
    assert response.status == 200
    assert asked == ["partner.example"]
    assert f"host: partner.example:{port}".encode() in there.heads[0].lower()


async def test_second_address_is_tried_when_the_first_refuses() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with partner(OK) as (_, port), guard(LOOPBACK, resolve=resolve) as guarded:
        assert (await guarded.request("GET", f"http://partner.example:{port}/", {})).status == 200


async def test_allowed_networks_and_hosts_may_be_plain_http() -> None:  # OUTBOUND_ALLOW
    async with partner(OK) as (_, port):
        for allow in (["127.0.0.0/8"], ["127.0.0.1"], ["LocalHost"], [" 10.0.0.0/8", "", "127.0.0.0/8 "]):
            async with guard(allow) as guarded:
                host = "localhost" if allow == ["LocalHost"] else "127.0.0.1"
                response = await guarded.request("GET", f"http://{host}:{port}/", {})
                assert (response.status, response.body, response.headers["x-limit"]) == (200, b"{}", "50")


def test_allow_entry_that_is_no_host_and_no_network_is_an_error_at_start() -> None:
    with pytest.raises(ValueError, match="OUTBOUND_ALLOW"):
        OutboundPolicy(["http://127.0.0.1/"])


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("193.0.0.1", True), ("2a00:1450::1", True), ("192.88.99.1", False), ("3fff::1", False)],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


# ---- how it may answer -----------------------------------------------------------------------------------------------


async def test_redirect_is_an_answer_and_not_followed() -> None:  # XT-05
    async with partner(OK) as (elsewhere, port):
        move = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with partner(fixed(move)) as (_, first), guard(LOOPBACK) as guarded:
            assert (await guarded.request("GET", f"http://127.0.0.1:{first}/", {})).status == 307
    assert elsewhere.heads == []


async def test_partner_that_hangs_is_left_at_the_deadline() -> None:  # XT-05
    async def hang(_head: bytes, _writer: asyncio.StreamWriter) -> None:
        return

    async with partner(hang) as (there, port), guard(LOOPBACK, timeout_s=0.2) as guarded:
        with pytest.raises(Unanswered, match=r"within 0\.2 s"):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {})
        async with asyncio.timeout(30):
            await there.disconnected.wait()


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
async def test_partner_that_drips_headers_or_body_is_left_at_the_deadline(part: bytes) -> None:  # XT-05
    async def drip(_head: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in part + b"HTTP/1.1 200 OK\r\n" + b"X" * 9000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with partner(drip) as (_, port), guard(LOOPBACK) as guarded:
        started = asyncio.get_running_loop().time()
        with pytest.raises(Unanswered):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {}, timeout_s=0.3)
        assert asyncio.get_running_loop().time() - started < 30  # the dripping would take a minute and a half


async def test_answer_of_300_mb_is_cut_at_the_cap() -> None:  # XT-05
    total = 300 * 2**20
    written = 0

    async def flood(_head: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while written < total:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    async with partner(flood) as (there, port), guard(LOOPBACK, max_bytes=2**20) as guarded:
        with pytest.raises(Unanswered, match="larger than 1048576"):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {})
        async with asyncio.timeout(30):
            await there.disconnected.wait()
    assert written < total / 4


@pytest.mark.parametrize(
    "data", [b"\x00\xff garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", b""]
)
async def test_garbage_and_broken_off_answers_are_unanswered(data: bytes) -> None:  # XT-05
    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    async with partner(answer) as (_, port), guard(LOOPBACK) as guarded:
        with pytest.raises(Unanswered):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {})


async def test_nobody_listening_and_no_such_name_are_unreachable() -> None:
    async with partner(OK) as (_, port):
        pass

    async def nowhere(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    async with guard(LOOPBACK) as guarded:
        with pytest.raises(Unreachable):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {})
    async with guard(resolve=nowhere) as guarded:
        with pytest.raises(Unreachable, match="no address"):
            await guarded.request("GET", "https://partner.example/", {})
        with pytest.raises(Unreachable, match="no address"):
            await guarded.check("https://partner.example/")


async def test_name_server_that_hangs_is_left_at_the_deadline() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with guard(resolve=never) as guarded:
        with pytest.raises(Unreachable):
            await guarded.request("GET", "https://partner.example/", {}, timeout_s=0.1)


async def test_what_is_closed_makes_no_connection_any_more() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_host: str, _port: int) -> list[str]:
        asked.set()
        await go_on.wait()
        return ["127.0.0.1"]

    async with partner(OK) as (there, port), guard(["partner.example"], resolve=slowly) as guarded:
        request = asyncio.create_task(guarded.request("GET", f"http://partner.example:{port}/", {}))
        await asked.wait()
        await guarded.aclose()
        go_on.set()
        with pytest.raises(Unreachable, match="closed meanwhile"):
            await request
        async with asyncio.timeout(30):
            await there.disconnected.wait()
    assert there.heads == []


async def test_no_cookie_is_kept_and_no_proxy_of_the_environment_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with partner(OK) as (there, port), guard(LOOPBACK) as guarded:
        for _ in range(2):
            await guarded.request("GET", f"http://127.0.0.1:{port}/", {})
    assert len(there.heads) == 2
    assert all(b"cookie" not in head.lower() and b"accept-encoding: identity" in head.lower() for head in there.heads)


# ---- TLS -------------------------------------------------------------------------------------------------------------


def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


async def test_tls_is_verified_for_the_name_while_the_vetted_address_is_called(tmp_path: Path) -> None:  # TR-01
    server, client = certificate_for("partner.example", tmp_path)
    names: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with partner(OK, tls=server) as (_, port), guard(LOOPBACK, resolve=resolve, tls=client) as guarded:
        response = await guarded.request("GET", f"https://partner.example:{port}/", {})
        assert response.status == 200
        assert names == ["partner.example"]
        with pytest.raises(Unreachable, match=r"certificate|CERTIFICATE"):
            await guarded.request("GET", f"https://other.example:{port}/", {})


def test_what_is_not_installed_is_not_looked_for_at_each_call() -> None:
    Guarded(OutboundPolicy())
    installed = find_spec("sniffio") is not None
    assert (sys.modules.get("sniffio", ...) is None) is not installed
    assert current_async_library() == "asyncio"
