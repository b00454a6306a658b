import ssl
from pathlib import Path

import pytest
from websockets.exceptions import InvalidMessage

from tests.csms import pki
from tests.csms.gateway.gateway_rig import ask, gateway_running, until


async def test_wss_without_a_proxy_is_let_in_from_anywhere(tmp_path: Path) -> None:  # B05, B06
    cert, key = pki.gateway().files(tmp_path)
    async with (
        gateway_running(tls_cert=cert, tls_key=key, allow_plain=()) as rig,
        rig.charger(url=f"wss://127.0.0.1:{rig.port}/ocpp/CP1", ssl=ssl.create_default_context(cafile=cert)) as charger,
    ):
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


async def test_plain_ws_on_a_tls_port_gets_nowhere(tmp_path: Path) -> None:  # B06
    cert, key = pki.gateway().files(tmp_path)
    async with gateway_running(tls_cert=cert, tls_key=key) as rig:
        with pytest.raises((InvalidMessage, OSError)):
            async with rig.charger():
                pass
        assert rig.presence.story == []
        await until(lambda: rig.frames.having(result="refused"))
        assert "TLS failed" in rig.frames.rows[-1].text


async def test_client_certificates_are_demanded_where_the_operator_says_so(tmp_path: Path) -> None:
    cert, key = pki.gateway().files(tmp_path)
    ca = pki.issue("Charger Authority", authority=True)
    ca_file, _ = ca.files(tmp_path)
    async with gateway_running(tls_cert=cert, tls_key=key, tls_client_ca=ca_file, tls_client_required=True) as rig:
        url = f"wss://127.0.0.1:{rig.port}/ocpp/CP1"
        with pytest.raises((InvalidMessage, OSError)):
            async with rig.charger(url=url, ssl=ssl.create_default_context(cafile=cert)):
                pass
        context = ssl.create_default_context(cafile=cert)
        context.load_cert_chain(*pki.issue("CP1", ca).files(tmp_path))
        async with rig.charger(url=url, ssl=context) as charger:
            assert (await ask(charger, [2, "1", "Heartbeat", {}]))[0] == 3


async def test_a_file_without_certificates_is_named_at_the_start(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    with pytest.raises(OSError, match=r"empty\.pem"):
        async with gateway_running(tls_client_ca=empty):
            pass
