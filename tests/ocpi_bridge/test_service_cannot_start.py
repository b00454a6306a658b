"""What keeps the service from starting is named in one line, and nothing of it is left running."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocpi_bridge.roles.api import Api
from ocpi_bridge.roles.gateway import GatewayRole
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.roles.worker import Worker
from ocpi_bridge.settings import Settings, SettingsError, load

LIMIT_S = 60


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    def read(**changed: str) -> Settings:
        told = {
            "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
            "DATA_DIR": str(tmp_path),
            "OCPP_LISTEN": "127.0.0.1:0",
            "HTTP_LISTEN": "127.0.0.1:0",
            "SECRET_KEY": "a key that only the tests have",
        }
        return load({f"ROAMBRIDGE_{name}": value for name, value in (told | changed).items()}, env_file=None)

    return read


async def refused(settings: Settings) -> str:
    """Why it does not start; everything it began has ended."""
    before = asyncio.all_tasks()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(OSError) as reason:  # noqa: PT011 - its text is what the tests look at
            await Service(settings).start()
    assert asyncio.all_tasks() == before
    return str(reason.value)


@pytest.mark.parametrize("door", ["OCPP_LISTEN", "HTTP_LISTEN"])
async def test_a_port_that_somebody_has_is_named(settings: Callable[..., Settings], taken: str, door: str) -> None:
    assert taken.rpartition(":")[2] in await refused(settings(**{door: taken}))


async def test_files_that_are_no_certificate_are_named(settings: Callable[..., Settings], tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_text("nothing of the kind")
    said = await refused(settings(OCPP_TLS_CERT=str(file), OCPP_TLS_KEY=str(file)))
    assert str(file) in said


async def test_a_database_that_is_away_leaves_nothing_behind(settings: Callable[..., Settings]) -> None:
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    away: Any = Service(settings(DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/nothing"))
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(Exception, match="connection"):
            await away.start()
    assert asyncio.all_tasks() == before


def test_settings_that_mean_nothing_to_one_process_are_told(settings: Callable[..., Settings]) -> None:
    told = settings(METRICS_LISTEN="127.0.0.1:0", REDIS_URL="redis://127.0.0.1:6379/0").not_acted_on
    assert told == ("ROAMBRIDGE_REDIS_URL",)
    assert settings().not_acted_on == ()


def test_roles_name_what_they_need(settings: Callable[..., Settings]) -> None:
    with pytest.raises(SettingsError) as refused:
        settings().needed_for_roles()
    assert [line.split(":")[0] for line in refused.value.problems] == [
        "ROAMBRIDGE_DATABASE_URL",
        "ROAMBRIDGE_REDIS_URL is not set",
    ]
    shared = settings(DATABASE_URL="postgresql://user@host/name", REDIS_URL="redis://127.0.0.1:6379/0")
    assert shared.needed_for_roles() == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize("role", [GatewayRole, Worker, Api])
async def test_a_redis_that_is_away_is_named_and_nothing_left_running(
    settings: Callable[..., Settings], postgres_url: str, role: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    before = asyncio.all_tasks()
    away = settings(DATABASE_URL=postgres_url, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(SettingsError, match="ROAMBRIDGE_REDIS_URL: "):
            await role(away).start()
    assert asyncio.all_tasks() == before
