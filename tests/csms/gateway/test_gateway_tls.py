import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidMessage

from tests.csms.gateway.gateway_rig import ask, gateway_running

Issue = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    """A self-signed certificate for 127.0.0.1 and its key."""

    def issued(name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        cert_file, key_file = tmp_path / f"{name}.crt", tmp_path / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return cert_file, key_file

    return issued


async def test_wss_without_a_proxy_is_let_in_from_anywhere(issue: Issue) -> None:  # B05, B06
    cert, key = issue("gateway")
    async with (
        gateway_running(tls_cert=cert, tls_key=key, allow_plain=()) as rig,
        rig.charger(url=f"wss://127.0.0.1:{rig.port}/ocpp/CP1", ssl=ssl.create_default_context(cafile=cert)) as charger,
    ):
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


async def test_plain_ws_on_a_tls_port_gets_nowhere(issue: Issue) -> None:  # B06
    cert, key = issue("gateway")
    async with gateway_running(tls_cert=cert, tls_key=key) as rig:
        with pytest.raises((InvalidMessage, OSError)):
            async with rig.charger():
                pass
        assert rig.presence.story == []


async def test_client_certificates_are_demanded_where_an_authority_is_set(issue: Issue) -> None:
    cert, key = issue("gateway")
    client_cert, client_key = issue("charger")
    async with gateway_running(tls_cert=cert, tls_key=key, tls_client_ca=client_cert) as rig:
        url = f"wss://127.0.0.1:{rig.port}/ocpp/CP1"
        with pytest.raises((InvalidMessage, OSError)):
            async with rig.charger(url=url, ssl=ssl.create_default_context(cafile=cert)):
                pass
        context = ssl.create_default_context(cafile=cert)
        context.load_cert_chain(client_cert, client_key)
        async with rig.charger(url=url, ssl=context) as charger:
            assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3
