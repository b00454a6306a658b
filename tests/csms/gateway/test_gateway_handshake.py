import asyncio
import base64
from ipaddress import ip_network
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from csms.bus import Admission, StationCredentials
from csms.gateway import handshake
from csms.passwords import hash_password
from tests.csms.gateway.gateway_rig import Rig, ask, gateway_running, until

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


async def exchange(rig: Rig, request: str | bytes) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """The head of what the port answers to raw bytes, and the streams for what follows."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(request.encode() if isinstance(request, str) else request)
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return head, reader, writer


async def answered(rig: Rig, request: str | bytes) -> str:
    """Everything that the port answers until it closes."""
    head, reader, writer = await exchange(rig, request)
    async with asyncio.timeout(30):
        body = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return head + body


async def refused(rig: Rig, path: str = "CP1", **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refusal:
        async with rig.charger(path, **options):
            pass
    return refusal.value.response.status_code


def basic(user: str, password: bytes) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(user.encode() + b":" + password).decode()}


# ---- subprotocols  # B04, T11 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offer",
    [
        "Sec-WebSocket-Protocol: ocpp1.6\r\n",
        "Sec-WebSocket-Protocol: ocpp1.6, ocpp2.0.1\r\n",
        "Sec-WebSocket-Protocol: ocpp2.0.1, ocpp1.6\r\n",
        "Sec-WebSocket-Protocol: ocpp2.0.1,ocpp1.6\r\n",
        "Sec-WebSocket-Protocol: ocpp2.0.1\r\nSec-WebSocket-Protocol: ocpp1.6\r\n",
        "Sec-WebSocket-Protocol: ocpp1.6,\r\n",
    ],
)
async def test_exactly_the_offered_version_that_we_speak_is_echoed(rig: Rig, offer: str) -> None:  # B04, TC_088_CSMS
    head, _, writer = await exchange(rig, HANDSHAKE.format(path="/ocpp/CP1", more=offer))
    assert head.startswith("HTTP/1.1 101")
    assert [line for line in head.split("\r\n") if line.lower().startswith("sec-websocket-protocol")] == [
        "Sec-WebSocket-Protocol: ocpp1.6"
    ]
    writer.close()


async def test_only_versions_we_do_not_speak_complete_the_handshake_without_the_header_and_close(
    rig: Rig,
) -> None:  # T11
    async with rig.charger(subprotocols=["ocpp2.0.1", "ocpp2.1"]) as charger:
        assert charger.subprotocol is None
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(charger.recv(), 5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1002
    (row,) = rig.frames.having(result="refused")
    assert "offered [ocpp2.0.1, ocpp2.1]" in row.text
    assert rig.presence.story == []


async def test_a_handshake_without_subprotocol_is_refused_with_a_reason(rig: Rig) -> None:  # T11
    answer = await answered(rig, HANDSHAKE.format(path="/ocpp/CP1", more=""))
    assert answer.startswith("HTTP/1.1 400")
    assert "Sec-WebSocket-Protocol is missing, offer ocpp1.6" in answer


async def test_a_listener_may_assume_a_version_where_none_is_offered() -> None:  # T11
    async with (
        gateway_running(assume_subprotocol_when_missing="ocpp1.6") as rig,
        rig.charger(subprotocols=None) as charger,
    ):
        assert charger.subprotocol is None
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


@pytest.mark.parametrize("offer", ["ocpp1.5", "ocpp1.6s", "ocpp1.2, ocpp1.5"])
async def test_soap_versions_are_told_that_this_is_json_only(rig: Rig, offer: str) -> None:  # A06
    more = f"Sec-WebSocket-Protocol: {offer}\r\n"
    answer = await answered(rig, HANDSHAKE.format(path="/ocpp/CP1", more=more))
    assert answer.startswith("HTTP/1.1 400")
    assert "JSON" in answer
    assert len(rig.frames.having(result="refused")) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (
            "POST /ocpp/CP1 HTTP/1.1\r\nContent-Type: application/soap+xml\r\nContent-Length: 11\r\n\r\n<Envelope/>",
            "405",
        ),
        ("POST /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "405"),
        ("GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("\x16\x03\x01 noise\r\n\r\n", "400"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400"),
        ("\n\n", "400"),
        ("noise\n", "400"),
    ],
)
async def test_what_is_no_websocket_gets_an_answer_and_a_row_with_the_peer(
    rig: Rig, request_: str, status: str
) -> None:  # A06
    answer = await answered(rig, request_)
    assert answer.startswith(f"HTTP/1.1 {status}")
    assert "JSON" in answer
    (row,) = rig.frames.having(result="refused")
    assert "127.0.0.1" in row.text


async def test_noise_that_breaks_off_leaves_a_row(rig: Rig) -> None:  # A06
    _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(b"GET /ocpp/CP1 HT")
    writer.close()
    await writer.wait_closed()
    await until(lambda: rig.frames.having(result="refused"))
    assert len(rig.frames.having(result="refused")) == 1


async def test_a_port_that_is_only_knocked_at_leaves_no_trace(rig: Rig) -> None:  # X11
    _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.close()
    await writer.wait_closed()
    async with rig.charger() as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
    assert rig.frames.having(result="refused") == []


# ---- identity and password  # B11 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "identity"),
    [("CP1", "CP1"), ("cp%20Nord%2F7", "cp Nord/7"), ("L%C3%BCttich", "Lüttich"), ("/CP1/", "CP1"), ("CP1?x=1", "CP1")],
)
async def test_the_identity_is_the_path_percent_decoded_with_its_case(
    rig: Rig, path: str, identity: str
) -> None:  # B11
    async with rig.charger(path) as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
        assert rig.core.events[0].station_id == identity
        assert list(rig.connections.connected()) == [identity]


@pytest.mark.parametrize("path", ["", "a/b", "CP%00", "CP%0A1", "%FF", "x" * 49])
async def test_a_path_without_a_sane_identity_is_404(rig: Rig, path: str) -> None:  # B11
    assert await refused(rig, path) == 404


async def test_the_prefix_is_configurable() -> None:  # B11
    async with gateway_running(path_prefix="/steve/ws") as rig:
        async with rig.charger(url=f"ws://127.0.0.1:{rig.port}/steve/ws/CP1") as charger:
            assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3
        assert await refused(rig) == 404


@pytest.mark.parametrize(("admission", "status"), [(Admission.UNKNOWN, 404), (Admission.REFUSED, 403)])
async def test_unknown_and_refused_stations_are_turned_away(rig: Rig, admission: Admission, status: int) -> None:  # B11
    rig.stations.else_ = StationCredentials(admission=admission)
    assert await refused(rig) == status
    (row,) = rig.frames.having(result="refused")
    assert row.station_id == "CP1"
    assert rig.presence.story == []
    assert rig.gateway.counts["refused"] == 1


async def test_a_stranger_who_may_wait_is_let_in(rig: Rig) -> None:
    rig.stations.else_ = StationCredentials(admission=Admission.PENDING)
    async with rig.charger() as charger:
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


KEY = "0123456789abcdef0011AAFF"


@pytest.mark.parametrize(
    "presented",
    [
        KEY.encode(),  # as text
        KEY.encode().hex().encode(),  # as hex of the text
        bytes.fromhex(KEY),  # as the raw bytes, no UTF-8, that the key stands for
    ],
)
async def test_a_password_is_known_in_each_form_that_chargers_send(rig: Rig, presented: bytes) -> None:
    stored = KEY if presented != bytes.fromhex(KEY) else KEY.lower()
    rig.stations.known["CP1"] = StationCredentials(admission=Admission.KNOWN, password_hash=hash_password(stored))
    async with rig.charger(additional_headers=basic("CP1", presented)) as charger:
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("CP1", b"wrong"),
        basic("CP1", b"\xff\xfe"),
        basic("CP2", KEY.encode()),
        basic("cp1", KEY.encode()),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Bearer " + KEY},
    ],
)
async def test_a_missing_or_wrong_password_is_401(rig: Rig, headers: dict[str, str]) -> None:
    rig.stations.known["CP1"] = StationCredentials(admission=Admission.KNOWN, password_hash=hash_password(KEY))
    with pytest.raises(InvalidStatus) as refusal:
        async with rig.charger(additional_headers=headers):
            pass
    assert refusal.value.response.status_code == 401
    assert refusal.value.response.headers["WWW-Authenticate"].startswith("Basic ")
    (row,) = rig.frames.having(result="refused")
    assert KEY not in row.text


async def test_a_user_that_is_not_the_station_is_401_even_without_a_password_set(rig: Rig) -> None:  # B11
    assert await refused(rig, additional_headers=basic("CP2", b"x")) == 401


async def test_a_password_may_hold_colons(rig: Rig) -> None:
    rig.stations.known["CP1"] = StationCredentials(admission=Admission.KNOWN, password_hash=hash_password("a:b:c"))
    async with rig.charger(additional_headers=basic("CP1", b"a:b:c")) as charger:
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


async def test_when_nobody_can_say_who_may_connect_the_answer_is_503(rig: Rig) -> None:
    async def unavailable(_station_id: str) -> StationCredentials:
        raise OSError("database gone")

    rig.stations.credentials = unavailable  # type: ignore[method-assign]
    assert await refused(rig) == 503


# ---- plain ws and proxies  # B05, B06 -------------------------------------------------------------------------------


async def test_plain_ws_from_elsewhere_is_403() -> None:  # B06
    async with gateway_running(allow_plain=(ip_network("10.0.0.0/8"),)) as rig:
        assert await refused(rig) == 403


async def test_a_trusted_proxy_vouches_for_tls_and_for_the_address() -> None:  # B05, B06
    async with gateway_running(allow_plain=(), trusted_proxies=(ip_network("127.0.0.0/8"),)) as rig:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
        async with rig.charger(additional_headers=headers) as charger:
            await ask(charger, [2, "1", "Heartbeat", {}])
        assert rig.presence.story[0].peer == "198.51.100.7"
        assert await refused(rig, additional_headers={"X-Forwarded-Proto": "http"}) == 403


async def test_nobody_else_vouches_for_anything() -> None:  # B06
    async with gateway_running(allow_plain=(ip_network("10.0.0.0/8"),)) as rig:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1"}
        assert await refused(rig, additional_headers=headers) == 403


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("198.51.100.7:5123, 10.0.0.9", "198.51.100.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("nonsense, 10.0.0.9", "10.0.0.9"),
        ("", "10.0.0.1"),
    ],
)
def test_forwarded_addresses_count_as_far_as_trusted_proxies_wrote_them(hops: str, address: str) -> None:  # B05
    headers = handshake.Headers([("X-Forwarded-For", hops)])
    peer = handshake.peer("::ffff:10.0.0.1", False, headers, (ip_network("10.0.0.0/8"),))
    assert str(peer.address) == address


async def test_a_probe_without_frames_changes_nothing(rig: Rig) -> None:  # X11
    async with rig.charger() as charger:
        await ask(charger, [2, "1", "Heartbeat", {}])
        story = list(rig.presence.story)
        async with rig.charger():
            pass
        await until(lambda: len(rig.gateway._links) == 1)
        assert rig.presence.story == story
        assert (await ask(charger, [2, "2", "Heartbeat", {}]))[0] == 3
