"""`roambridge firmware` and `diagnostics`, as far as they need no running service."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from csms import diagnostics, stations
from csms.database import Database
from csms.models import Station
from tests.ocpi_bridge.cli_answers import objects

Cli = Callable[..., Any]


@pytest.fixture
def image(cli: Cli, database: Database, tmp_path: Path) -> Path:
    """A file for the station CP1's make, added as image 1."""
    with database.write() as connection:
        stations.provision(connection, "CP1", None, datetime.now(UTC))
        connection.execute(update(Station).values(vendor="Acme", model="X", firmware_version="1.0"))
    file = tmp_path / "acme.bin"
    file.write_bytes(b"firmware")
    added = cli("firmware", "add", str(file), "--vendor", "Acme", "--model", "X", "--version", "2.0")
    assert (added.exit_code, added.stdout) == (0, "image 1 added\n")
    return file


def rows(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    return objects(cli(*arguments, "--json"))


def test_images_are_listed_and_what_cannot_be_is_one_line(cli: Cli, image: Path) -> None:
    (listed,) = rows(cli, "firmware", "list")
    assert (listed["vendor"], listed["version"], listed["size"], listed["signed"]) == ("Acme", "2.0", 8, False)
    make = ("--vendor", "Acme", "--version", "2.0")
    for arguments, said in (
        (("add", str(image), *make), "this file is there already, as image 1"),
        (("add", str(image), *make, "--signature", "c2ln"), "a certificate and a signature belong together"),
        (("update", "CP1", "9"), "there is no image 9"),
        (("update", "NOBODY", "1"), "there is no station NOBODY"),
        (("update", "CP1", "1", "--at", "2099-01-01T00:00:00Z"), "the address expires at"),
        (("update", "CP1", "1", "--signed"), "the image has no certificate and signature"),
        (("cancel", "9"), "there is no update 9"),
        (("campaign", "start", "9"), "there is no campaign 9"),
        (("campaign", "prepare", "Other", "--image", "1"), "the image is for Acme X, not for Other (all models)"),
    ):
        refused = cli("firmware", *arguments)
        assert (refused.exit_code, refused.stdout) == (1, ""), arguments
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_campaign_is_drafted_started_paused_and_ended(cli: Cli, image: Path) -> None:  # F07, R08
    assert cli("firmware", "campaign", "prepare", "Acme", "X").stdout == "campaign 1 drafted\n"
    assert cli("firmware", "campaign", "start", "1").stderr == "roambridge: campaign 1 has no image yet\n"
    for arguments, state in (
        (("start", "1", "--image", "1"), "canary"),
        (("pause", "1"), "paused"),
        (("resume", "1"), "canary"),
        (("cancel", "1"), "cancelled"),
    ):
        done = cli("firmware", "campaign", *arguments)
        assert done.exit_code == 0, done.stderr
        (listed,) = rows(cli, "firmware", "campaign", "list")
        assert (listed["state"], listed["to_come"], listed["installed"]) == (state, 1, 0)
    assert cli("firmware", "campaign", "resume", "1").exit_code == 1
    assert "Acme" in cli("firmware", "campaign", "list").stdout
    assert rows(cli, "firmware", "status") == []


def test_a_log_is_shown_and_nothing_in_it_acts_on_the_terminal(
    cli: Cli, image: Path, database: Database
) -> None:  # R11
    with database.write() as connection:
        asked = diagnostics.request_diagnostics(
            connection, "CP1", requested_by="test", now=datetime.now(UTC), public_url="http://127.0.0.1"
        )
    assert "it is waiting" in cli("diagnostics", "show", "1").stderr
    assert cli("diagnostics", "show", "9").stderr == "roambridge: there is no upload 9\n"
    folder = image.parent / diagnostics.FOLDER
    folder.mkdir()
    (folder / "1-a.log").write_bytes(b"one\nERROR \x1b[2Jtwo\nthree\n")
    with database.write() as connection:
        kept: dict[str, Any] = {"path": "1-a.log", "filename": "a.log", "size": 24, "content_type": None}
        diagnostics.received(connection, asked.upload_id, **kept, now=datetime.now(UTC))
    assert cli("diagnostics", "show", "1", "--search", "error", "--numbers").stdout == "     2  ERROR ·[2Jtwo\n"
    first = cli("diagnostics", "show", "1", "--limit", "1")
    assert (first.stdout, first.stderr) == ("one\n", "(more: --offset 1)\n")
    (listed,) = rows(cli, "diagnostics", "list", "CP1")
    assert (listed["state"], listed["filename"], listed["size"]) == ("received", "a.log", 24)
