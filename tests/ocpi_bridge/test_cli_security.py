"""What an operator types for a station's passwords, profiles and certificates, with the service and a charger on a socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.headers import build_authorization_basic

from csms import stations
from csms.database import Database
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.csms import pki, secure_story
from tests.csms.core_story import NOON

Cli = Callable[..., Any]
LIMIT_S = 30
STATUS = {"connectorId": 0, "errorCode": "NoError", "status": "Available"}
HASH = {"hashAlgorithm": "SHA256", "issuerNameHash": "aa", "issuerKeyHash": "bb", "serialNumber": "0A1B"}


class Charger:
    """Takes everything; when triggered, it makes a key and asks for a certificate."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.certified = asyncio.Event()

    async def serve(self, socket: ClientConnection) -> None:
        async for text in socket:
            kind, id_, *rest = json.loads(text)
            if kind != 2:
                continue
            action, payload = rest
            self.asked.append((action, payload))
            answer: dict[str, Any] = {"status": "Accepted"}
            if action == "GetInstalledCertificateIds":
                answer["certificateHashData"] = [HASH]
            if action == "GetConfiguration":
                answer = {"configurationKey": [], "unknownKey": payload.get("key", [])}
            await socket.send(json.dumps([3, id_, answer]))
            if action == "ExtendedTriggerMessage":
                csr = pki.request("CP1", pki.new_key())
                await socket.send(json.dumps([2, "csr", "SignCertificate", {"csr": csr}]))
            if action == "CertificateSigned":
                self.certified.set()

    def payloads(self, action: str) -> list[Any]:
        return [payload for asked, payload in self.asked if asked == action]


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None]) -> AsyncIterator[Service]:
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0", PUBLIC_URL="http://127.0.0.1")
    async with started() as service:
        yield service


@asynccontextmanager
async def started() -> AsyncIterator[Service]:
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    yield service
    await service.stop()


async def test_a_station_whose_certificate_is_revoked_is_sent_away_at_once(
    cli: Cli, environment: Callable[..., None], database: Database, tmp_path: Path
) -> None:
    cert, key = pki.gateway().files(tmp_path)
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0", OCPP_TLS_CERT=str(cert), OCPP_TLS_KEY=str(key))
    with database.write() as connection:
        stations.provision(connection, "CP1", None, NOON)
    async with started() as service:
        station = secure_story.Charger(SimpleNamespace(cert=cert, folder=tmp_path, gateway=service.gateway))
        station.key = pki.new_key()
        async with station.connected():
            await station.say("SignCertificate", csr=pki.request("CP1", station.key))
            id_, sent = await station.hear("CertificateSigned")
            [station.certificate] = sent.values()
            await station.answer(id_, status="Accepted")
        fingerprint = (
            x509.load_pem_x509_certificates(station.certificate.encode())[0].fingerprint(hashes.SHA256()).hex()
        )
        async with station.connected():
            revoked = await asyncio.to_thread(cli, "certificate", "revoke", fingerprint)
            assert revoked.exit_code == 0, revoked.output
            async with asyncio.timeout(LIMIT_S):
                await station.socket.wait_closed()
            assert (station.socket.close_code, station.socket.close_reason) == (1008, "its certificate is revoked")
        assert await station.refused() == 403


def opening(service: Service, password: str) -> connect:
    url = f"ws://127.0.0.1:{service.gateway.port}/ocpp/CP1"
    headers = {"Authorization": build_authorization_basic("CP1", password)}
    return connect(url, subprotocols=["ocpp1.6"], additional_headers=headers, ping_interval=None)


async def test_an_operator_changes_a_password_and_gives_a_certificate(  # X15
    service: Service, cli: Cli, database: Database, tmp_path: Path
) -> None:
    with database.write() as connection:
        stations.provision(connection, "CP1", "the-first-password", service.clock())

    async def typed(*arguments: str) -> str:
        result = await asyncio.to_thread(cli, *arguments)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    charger = Charger()
    async with opening(service, "the-first-password") as socket:
        serving = asyncio.create_task(charger.serve(socket))
        await socket.send(json.dumps([2, "0", "StatusNotification", STATUS]))
        said = await typed("station", "password", "CP1", "--rotate")
        assert "good until it has connected" in said
        [asked] = charger.payloads("ChangeConfiguration")
        assert asked["value"] not in said

        assert "accepted" in await typed("certificate", "request", "CP1")
        async with asyncio.timeout(LIMIT_S):
            await charger.certified.wait()
        root = await typed("certificate", "authority", "--algorithm", "ecdsa")
        [signed] = charger.payloads("CertificateSigned")
        leaf, issuer = x509.load_pem_x509_certificates(next(iter(signed.values())).encode())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(root.encode()))
        assert root.strip() == issuer.public_bytes(serialization.Encoding.PEM).decode().strip()

        file = tmp_path / "root.pem"
        file.write_text(pki.issue("Our Root", authority=True).pem)
        await typed("certificate", "install", "CP1", str(file))
        assert "0A1B" in await typed("certificate", "installed", "CP1")
        await typed("certificate", "delete", "CP1", "a1b")
        assert charger.payloads("DeleteCertificate") == [{"certificateHashData": HASH}]
        async with asyncio.timeout(LIMIT_S):
            while (listed := json.loads(await typed("certificate", "list", "--json")))["state"] != "installed":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "CP1 is revoked" in await typed("certificate", "revoke", listed["fingerprint"])
        await typed("station", "security", "CP1", "1")
        serving.cancel()
    async with opening(service, asked["value"]) as socket:
        await socket.send(json.dumps([2, "1", "Heartbeat", {}]))
        await socket.recv()
        await socket.send(json.dumps([2, "2", "StatusNotification", STATUS]))
        await socket.recv()
    with pytest.raises(InvalidStatus):
        async with opening(service, "the-first-password"):
            pass


def test_what_cannot_be_is_said_in_one_line(cli: Cli, database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        stations.provision(connection, "CP1", None, NOON)
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    for arguments, said in {
        ("certificate", "revoke", "ab" * 32): "no certificate",
        ("certificate", "request", "CP9"): "no station CP9",
        ("certificate", "install", "CP1", str(nonsense)): "no certificate in PEM",
        ("station", "password", "CP9", "--rotate"): "no station CP9",
        ("station", "security", "CP1", "2"): "needs a password",
        ("station", "security", "CP1", "0"): "only rises",
        ("station", "security", "CP9", "1", "--demand"): "no station CP9",
    }.items():
        result = cli(*arguments)
        assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
        assert said in result.stderr
    assert cli("station", "password", "CP1", "--rotate", "--none").exit_code == 2
    assert cli("station", "security", "CP1", "2", "--demand").exit_code == 0
