"""A party whose tariffs are imported while the service runs is one of our roles, without a restart."""

import asyncio
import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from csms.import_network import import_network
from ocpi_bridge.roles import partnership
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

LIMIT_S = 30

NETWORK: dict[str, Any] = {
    "parties": [{"country_code": "NL", "party_id": "SUB"}],
    "tariffs": [
        {
            "id": "T1",
            "party": {"country_code": "NL", "party_id": "SUB"},
            "currency": "EUR",
            "elements": [{"price_components": [{"type": "FLAT", "price": "1", "step_size": 1}]}],
        }
    ],
}


async def test_a_party_that_is_imported_while_we_run_is_ours(  # PU-03, CR-31
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partnership, "ROLES_EVERY_S", 0.05)
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))
    now = datetime.now(UTC)

    def write() -> str:
        with service.database.write() as connection:
            token = service.partners.invite(connection, "eMSP", ("BE", "BEC"), now)
            import_network(connection, NETWORK, default_party=("BE", "BEC"), operator_name="Us", now=now)
            return token

    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            token = base64.b64encode((await asyncio.to_thread(write)).encode()).decode()
            url = f"http://127.0.0.1:{service.web.port}/ocpi/cpo/2.2.1/credentials"
            async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Token {token}"}) as partner:
                roles: list[Any] = []
                while len(roles) < 2:
                    roles = (await partner.get(url)).json()["data"]["roles"]
        finally:
            await service.stop()
    assert [(role["country_code"], role["party_id"]) for role in roles] == [("BE", "BEC"), ("NL", "SUB")]
