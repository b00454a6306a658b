"""The commands as an operator types them: what they print, and how they fail."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from crud.models import Partner
from csms.bus import Admission
from csms.database import Database
from csms.models import RemoteRequest, Station, Token
from csms.passwords import verify
from csms.schema import scripts
from ocpi_bridge.cli import COMMANDS
from ocpi_bridge.commands.terminal import printable
from tests.ocpi_bridge.cli_answers import objects, refusal

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "network.example.yaml"
NOW = datetime(2026, 5, 1, tzinfo=UTC)

Cli = Callable[..., Any]


# ---- the frame ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, environment: Callable[..., None]) -> None:
    from typer.testing import CliRunner

    from ocpi_bridge.cli import app

    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"{name} [OPTIONS]" in result.stdout.replace("roambridge ", "")


def test_a_command_starts_without_loading_what_others_need() -> None:
    heavy = {"sqlalchemy", "fastapi", "py_ocpi", "httpx", "websockets", "alembic", "yaml", "uvloop"}
    script = f"import sys, ocpi_bridge.cli; print(sorted({heavy!r} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "[]"


def test_wrong_usage_is_2(cli: Cli) -> None:
    for wrong in (
        ["nonsense"],
        ["station", "adopt"],
        ["station", "command", "CP1", "dance"],
        ["messages", "--since", "?"],
    ):
        assert cli(*wrong).exit_code == 2, wrong


@pytest.mark.parametrize("role", ["gateway", "worker", "api"])
def test_a_role_says_what_it_misses(cli: Cli, environment: Callable[..., None], tmp_path: Path, role: str) -> None:
    environment(DATABASE_URL=f"sqlite:///{tmp_path / 'roles.db'}")
    refused = cli(role)
    assert refused.exit_code == 1
    assert [line.split(": ")[1].split()[0] for line in refused.stderr.splitlines()] == [
        "ROAMBRIDGE_DATABASE_URL",
        "ROAMBRIDGE_REDIS_URL",
    ]


def test_a_setting_that_cannot_be_used_is_one_line(cli: Cli, environment: Callable[..., None]) -> None:
    environment(PARTY_ID="?")
    assert refusal(cli("station", "list")).startswith("ROAMBRIDGE_PARTY_ID: ")


def test_serve_refuses_without_a_secret_key(cli: Cli, environment: Callable[..., None]) -> None:
    environment(SECRET_KEY="")
    assert refusal(cli("serve")).startswith("ROAMBRIDGE_SECRET_KEY is not set")
    assert refusal(cli("partner", "list")).startswith("ROAMBRIDGE_SECRET_KEY is not set")


def test_a_database_without_tables_is_one_line(cli: Cli, environment: Callable[..., None], empty_url: str) -> None:
    environment(DATABASE_URL=empty_url)
    assert "roambridge migrate" in refusal(cli("station", "list"))
    migrated = cli("migrate")
    revisions = sorted(file.name[:4] for file in scripts().glob("versions/*.py"))
    applied = [f"{revision} ({target})" for target in ("main", "message_log") for revision in revisions]
    assert (migrated.exit_code, migrated.stdout) == (0, f"applied {', '.join(applied)}\n")
    assert cli("migrate").stdout == "the schema is the newest already\n"
    assert cli("station", "list").exit_code == 0


@pytest.mark.parametrize(
    "asked", ["review take", "alert close", "firmware cancel", "diagnostics show", "token list --limit"]
)
def test_a_number_that_no_row_can_have_is_one_line(cli: Cli, asked: str) -> None:
    assert refusal(cli(*asked.split(), "9" * 23))


def test_a_database_that_is_not_there_is_one_line(cli: Cli, environment: Callable[..., None]) -> None:
    environment(DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/x")
    said = refusal(cli("station", "list"))
    assert said.startswith("the database cannot be used: ")
    assert "hunter2" not in said


def test_nothing_written_by_others_acts_on_the_terminal() -> None:
    assert printable("A\x1b[2Jb\x07\u202ec\ud800") == "A·[2Jb··c·"


# ---- import ---------------------------------------------------------------------------------------------------------


def test_import_tells_what_changed(cli: Cli, tmp_path: Path) -> None:
    dry = objects(cli("import", str(EXAMPLE), "--dry-run", "--json"))
    assert objects(cli("import", str(EXAMPLE), "--json")) == dry
    assert dry[0] == {"kind": "tariff", "id": "standard-ac", "what": "new", "detail": "version 1"}
    assert cli("import", str(EXAMPLE)).stdout == "changed: nothing\n"
    edited = tmp_path / "edited.yaml"
    edited.write_text(EXAMPLE.read_text().replace("max_amperage: 32", "max_amperage: 50"))
    [change] = objects(cli("import", str(edited), "--json"))
    assert change == {"kind": "connector", "id": "CP001-1 1", "what": "changed", "detail": "max_amperage"}


def test_import_names_every_mistake(cli: Cli, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("tariffs: 5\ntokens: [{uid: A, valid: true}]\n")
    result = cli("import", str(wrong))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f'roambridge: {wrong}: tariffs: 5 is not of type "array"',
        f"roambridge: {wrong}: tokens[0].contract_id: is missing",
    ]
    assert "No such file" in refusal(cli("import", "absent.yaml"))
    wrong.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refusal(cli("import", str(wrong)))


# ---- tariffs, cards, keys -------------------------------------------------------------------------------------------


def test_tariffs_are_listed_with_their_prices(cli: Cli) -> None:
    cli("import", str(EXAMPLE))
    cli("import", "-", input=EXAMPLE.read_text().replace('"0.25"', '"0.30"'))
    [current] = objects(cli("tariff", "list", "--json"))
    assert (current["version"], current["prices"]) == (2, ["0.5 flat", "0.3/kWh", "2/h parking"])
    assert [row["state"] for row in objects(cli("tariff", "list", "--all", "--json"))] == ["older", "in_force"]
    assert "standard-ac" in cli("tariff", "list").stdout


def test_a_card_is_added_blocked_and_never_shown_whole(cli: Cli, database: Database) -> None:
    added = cli("token", "add", "04A1B2C3D4E5", "--group", "FLEET", "--expires", "2030-01-01", "--fleet")
    assert (added.exit_code, added.stdout) == (0, "card 04…E5 created\n")
    with database.read() as connection:
        card = connection.execute(select(Token.__table__)).one()
    assert (card.country_code, card.party_id, card.issuer, card.contract_id) == (
        "BE",
        "BEC",
        "roambridge",
        "04A1B2C3D4E5",
    )
    assert (card.valid, card.group_id, card.exempt) == (True, "FLEET", True)
    assert card.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    [row] = objects(cli("token", "list", "--json"))
    assert (row["uid"], row["owner"], row["valid"]) == ("04…E5", "own", True)
    assert cli("token", "block", "04a1b2c3d4e5").stdout == "card 04…e5 blocked\n"
    [row] = objects(cli("token", "list", "--own", "--json"))
    assert row["valid"] is False
    assert "04A1B2C3D4E5" not in cli("token", "list").stdout
    assert cli("token", "add", "04A1B2C3D4E5").stdout == "card 04…E5 updated\n"
    assert refusal(cli("token", "block", "0000000000")) == "no card of the operator's own has the number 00…00"
    assert "printable" in refusal(cli("token", "add", "\u200b"))


def test_an_api_key_is_shown_once(cli: Cli) -> None:
    key = cli("apikey", "create", "billing export", "--role", "operator").stdout.strip()
    [row] = objects(cli("apikey", "list", "--json"))
    assert (row["name"], row["role"], row["revoked_at"]) == ("billing export", "operator", None)
    assert key.split("_", 2)[2] not in cli("apikey", "list").stdout
    assert cli("apikey", "revoke", row["prefix"]).stdout == "revoked\n"
    assert cli("apikey", "revoke", row["prefix"]).stdout == "was revoked before\n"
    assert refusal(cli("apikey", "revoke", "nothing")) == "no key has the prefix nothing"
    assert cli("apikey", "create", "x", "--role", "king").exit_code == 2


# ---- stations -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stranger(database: Database) -> str:
    with database.write() as connection:
        values = {"station_id": "CP9", "admission": Admission.PENDING.value, "fingerprint": "x", "vendor": "A\x1b[31m"}
        connection.execute(insert(Station).values(**values, created_at=NOW))
    return "CP9"


def row_of(database: Database) -> Any:
    with database.read() as connection:
        return connection.execute(select(Station.__table__)).one()


def test_a_stranger_is_adopted_rebound_and_refused(cli: Cli, database: Database, stranger: str) -> None:
    [row] = objects(cli("station", "list", "--waiting", "--json"))
    assert (row["station_id"], row["admission"], row["online"]) == ("CP9", "pending", False)
    assert "A·[31m" in cli("station", "list").stdout
    assert cli("station", "adopt", "CP9").stdout == "CP9 adopted\n"
    assert cli("station", "adopt", "CP9").stdout == "CP9 was in already\n"
    assert objects(cli("station", "list", "--waiting", "--json")) == []
    assert cli("station", "rebind", "CP9").exit_code == 0
    assert row_of(database).fingerprint is None
    assert cli("station", "binding", "CP9", "warn").stdout == "CP9 is bound: warn\n"
    assert row_of(database).binding == "warn"
    assert cli("station", "binding", "CP9", "loose").exit_code == 2
    assert cli("station", "refuse", "CP9").exit_code == 0
    assert row_of(database).admission == Admission.REFUSED
    for verb in ("adopt", "rebind", "refuse", "password"):
        assert refusal(cli("station", verb, "CP0")) == "there is no station CP0"


def test_a_password_is_made_typed_or_taken_away(cli: Cli, database: Database, stranger: str) -> None:
    made = cli("station", "password", "CP9").stdout.strip()
    assert 16 <= len(made) <= 40
    assert verify(made.encode(), row_of(database).password_hash)
    typed = cli("station", "password", "CP9", "--ask", input="another one here\nanother one here\n")
    assert typed.exit_code == 0
    assert "another one here" not in typed.output
    assert verify(b"another one here", row_of(database).password_hash)
    assert cli("station", "password", "CP9", "--none").exit_code == 0
    assert row_of(database).password_hash is None
    assert cli("station", "password", "CP9", "--none", "--ask").exit_code == 2


def test_a_hard_reset_is_refused_where_nobody_sits(cli: Cli, database: Database, stranger: str) -> None:
    refused = refusal(cli("station", "reset", "CP9", "--hard", "--reason", "stuck", "--without-soft"))
    assert refused == "a hard reset is a person's decision: it needs a terminal"
    with database.read() as connection:
        assert connection.execute(select(RemoteRequest.id)).all() == []


def test_a_command_that_nobody_takes_says_so(cli: Cli, stranger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocpi_bridge.commands.asking.GRACE_S", 0.0)
    said = refusal(cli("station", "command", "CP9", "get-configuration", "--timeout", "1"))
    assert said == "nobody took the request: is `roambridge serve` running on this database?"
    assert refusal(cli("station", "reset", "CP0")) == "there is no station CP0"


@pytest.mark.parametrize(
    "words",
    [
        ["unlock-connector"],
        ["unlock-connector", "one"],
        ["change-availability", "1", "maybe"],
        ["trigger-message", "coffee"],
        ["change-configuration", "HeartbeatInterval"],
        ["reset", "now"],
    ],
)
def test_a_command_with_wrong_arguments_is_wrong_usage(cli: Cli, stranger: str, words: list[str]) -> None:
    assert cli("station", "command", "CP9", *words).exit_code == 2


def test_a_remote_stop_names_a_transaction_that_is_there(cli: Cli, stranger: str) -> None:
    assert refusal(cli("station", "command", "CP9", "remote-stop", "17")) == "CP9 has no transaction 17"
    said = refusal(cli("station", "command", "CP9", "remote-start", "A" * 30))
    assert said == "AA…AA is no known card, and too long to be sent as it is"


# ---- partners -------------------------------------------------------------------------------------------------------


def test_an_invitation_is_json(cli: Cli, environment: Callable[..., None]) -> None:
    environment(PUBLIC_URL="https://ocpi.example.com")
    [invitation] = objects(cli("partner", "invite", "Acme"))
    assert invitation["versions_url"] == "https://ocpi.example.com/ocpi/versions"
    [again] = objects(cli("partner", "invite", "Acme"))
    assert again["token"] != invitation["token"]
    [row] = objects(cli("partner", "list", "--json"))
    assert (row["name"], row["state"], row["our_party"]) == ("Acme", "invited", "BE-BEC")
    for shown in (cli("partner", "list"), cli("partner", "show", "Acme"), cli("partner", "show", "Acme", "--json")):
        assert shown.exit_code == 0
        assert again["token"] not in shown.output


def test_whose_prices_count_can_be_set(cli: Cli, database: Database) -> None:  # CD-34
    cli("partner", "invite", "Hub")
    assert cli("partner", "pricing", "Hub").stdout == "Hub prices itself what begins from now on\n"
    assert cli("partner", "pricing", "Hub", "--ours").stdout == "Hub is sent our prices again\n"
    with database.read() as connection:
        ((since, until),) = connection.execute(select(Partner.prices_itself)).scalar_one()
    assert since <= until


def test_a_partner_that_is_not_there(cli: Cli) -> None:
    for verb in ("show", "unregister", "sync", "pricing"):
        assert refusal(cli("partner", verb, "Acme")).casefold().rstrip(".") == "there is no partner acme"
    said = refusal(cli("partner", "register", "Acme", "--url", "http://127.0.0.1:1/versions", "--token", "secret-a"))
    assert said.startswith("Acme: ")
    assert "secret-a" not in said
    assert objects(cli("partner", "list", "--json")) == []  # CR-26


def test_a_version_that_we_do_not_speak_is_refused_before_anything_is_asked(cli: Cli) -> None:  # CR-28
    at = ("--url", "http://127.0.0.1:1/versions", "--token", "secret-a")
    for said in (
        refusal(cli("partner", "register", "Acme", *at, "--version", "2.1")),
        refusal(cli("partner", "renew", "Acme", "--version", "2.1")),
    ):
        assert said == "OCPI 2.1 is not spoken here, but 2.2.1 and 2.1.1"
    assert (
        refusal(cli("partner", "renew", "Acme", "--version", "2.1.1")).casefold().startswith("there is no partner acme")
    )


def test_a_secret_key_that_changed_is_one_line(cli: Cli, environment: Callable[..., None]) -> None:
    cli("partner", "invite", "Acme")
    environment(SECRET_KEY="another key of the tests")
    assert "SECRET_KEY has changed" in refusal(cli("partner", "list"))
