"""What tests of the running service and its commands share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

Cli = Callable[..., Any]

SECRET_KEY = "a secret key of the tests"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets what roambridge reads, and nothing else: no .env of a developer, no variable of a shell."""
    for name in os.environ:
        if name.startswith("ROAMBRIDGE_") and not name.startswith("ROAMBRIDGE_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def set_(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"ROAMBRIDGE_{name}", value)

    return set_


@pytest.fixture
def cli(environment: Callable[..., None], database_url: str, tmp_path: Path) -> Iterator[Cli]:
    """`cli("token", "list")` on a database with all tables: the result has exit_code, stdout and stderr."""
    from ocpi_bridge.cli import app

    environment(DATABASE_URL=database_url, DATA_DIR=str(tmp_path), SECRET_KEY=SECRET_KEY, OUTBOUND_ALLOW="127.0.0.0/8")
    runner = CliRunner()

    def run(*arguments: str, input: str | None = None) -> Any:
        return runner.invoke(app, list(arguments), input=input, prog_name="roambridge")

    yield run
    structlog.reset_defaults()
