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
    nothing for so long is no probe any more (X11)."""

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
