"""What an operator may choose about the chargers' door; the values arrive from the composition root."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from csms.gateway.handshake import Network


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """`port` 0 takes any. A client certificate of an authority in `tls_client_ca` proves a station's identity;
    `tls_client_required` lets nobody in without one. `client_cert_header`: in which a trusted proxy tells the client
    certificate that it received; it must overwrite that header, or anybody may write it. `probe_grace_s`: a socket that said
    nothing for so long is no probe any more (X11).

    X07: `handshakes_at_once` are judged at a time, `handshakes_in_line` more wait, and whoever comes then is told to come back
    later, as is one of an address that holds `sockets_per_address` (a car park may be one). Of what a charger sends beyond
    `frames_per_s` the rest waits in its own network: nothing is lost."""

    host: str = "127.0.0.1"
    port: int = 9000
    path_prefix: str = "/ocpp"
    allow_plain: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    trusted_proxies: tuple[Network, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tls_client_required: bool = False
    client_cert_header: str | None = None
    max_frame_bytes: int = 1 << 20
    ping_interval_s: tuple[float, float] = (40, 50)
    pong_timeout_s: float = 20
    call_timeout_s: float = 30
    report_timeout_s: float = 25
    probe_grace_s: float = 2
    assume_subprotocol_when_missing: str | None = None
    compression: bool = False
    handshakes_at_once: int = 32
    handshakes_in_line: int = 10_000
    sockets_per_address: int = 20_000
    frames_per_s: int = 500
