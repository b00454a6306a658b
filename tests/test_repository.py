"""What is true of the code as a whole: which words, readings and libraries live where."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from csms.models import JournalEntry

ROOT = Path(__file__).parents[1]
PACKAGES = ("csms", "adapters", "crud", "ocpi_bridge")
GATEWAY, SIMULATOR = "csms/gateway/", "csms/simulator/"

Found = Iterator[tuple[int, str]]


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def found(look: Callable[[ast.Module], Found], path: Path) -> list[tuple[int, str]]:
    return list(look(tree_of(path)))


def said(tree: ast.Module) -> Found:
    """Names and texts that the program uses, by line; what is only told to a reader (docstrings) is left out."""
    told = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in told:
                yield node.lineno, text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text


def imported(tree: ast.Module) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def called_on_asyncio(tree: ast.Module) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "asyncio":
            yield node.lineno, node.attr


def where(
    look: Callable[[ast.Module], Found], pattern: str, *packages: str, allowed: tuple[str, ...] = ()
) -> list[str]:
    """Each place in `packages` where what `look` finds matches, outside the files and folders `allowed`."""
    return [
        f"{name_of(path)}:{line} {text[:60]}"
        for path in sources(*packages)
        if not name_of(path).startswith(allowed)
        for line, text in found(look, path)
        if re.search(pattern, text)
    ]


# ---- OCPP's words -----------------------------------------------------------------------------------------------------

OCPP_WORDS = (
    r"idTag|parentIdTag|connectorId|meterStart|meterStop|chargePoint|sampledValue|ocpp1\.6|ocpp2\.|\b1\.6\b"
    r"|\b(?:Boot|Status)Notification\b|\b(?:Start|Stop)Transaction\b|\bMeterValues\b"
)


def test_only_the_gateway_speaks_in_ocpp_words() -> None:  # A09
    # Card numbers are masked inside frames as they were logged; the demo shows frames.
    allowed = (GATEWAY, SIMULATOR, "ocpi_bridge/masking.py", "ocpi_bridge/demo.py")
    assert where(said, OCPP_WORDS, *PACKAGES, allowed=allowed) == []


def test_the_words_of_1_6_live_where_1_6_is_spoken() -> None:  # A09
    """What the rest of the gateway may name: subprotocols, and what it keeps out of the log."""
    allowed = (*(GATEWAY + name for name in ("ocpp16/", "versions.py", "handshake.py", "redaction.py")), SIMULATOR)
    assert where(said, OCPP_WORDS, "csms", allowed=allowed) == []


def test_only_the_gateway_and_the_simulator_import_ocpp_or_websockets() -> None:  # A09, K10
    assert where(imported, r"^(ocpp|websockets)\b", *PACKAGES, allowed=(GATEWAY, SIMULATOR)) == []


def test_billing_knows_nothing_of_the_gateway() -> None:  # A12
    assert where(imported, r"^(csms\.gateway|csms\.bus|csms\.simulator|ocpp|websockets)\b", "csms/billing") == []


def test_the_simulators_share_no_code_with_the_server() -> None:
    ours = r"^(csms(?!\.simulator\b)|adapters|crud|ocpi_bridge(?!\.emsp_simulator\b))\b"
    assert where(imported, ours, "csms/simulator", "ocpi_bridge/emsp_simulator") == []


def test_nobody_waits_with_wait_for() -> None:
    """On Python 3.11 it can swallow a cancellation, and a task that was asked to stop goes on."""
    assert where(called_on_asyncio, r"^wait_for$", *PACKAGES) == []


def test_roaming_uses_the_cores_words_only() -> None:  # K10
    assert (
        where(imported, r"^csms\.gateway\b", "adapters", "crud", "ocpi_bridge", allowed=("ocpi_bridge/roles/",)) == []
    )


# ---- what a charger says is not trusted, nor judged by its make -------------------------------------------------------


def test_only_the_clock_reads_a_chargers_time() -> None:  # F08
    readers = r"^(fromisoformat|strptime|fromtimestamp|utcfromtimestamp|parsedate_to_datetime|mktime)$"
    not_chargers = ("csms/import_network.py", "csms/network_rules.py", "csms/database.py")  # the operator, our own rows
    assert where(said, readers, "csms", allowed=("csms/clock.py", SIMULATOR, *not_chargers)) == []


def test_nothing_asks_whether_a_card_number_is_hex_or_how_long_it_is() -> None:  # D01
    judges = r"^(fromhex|unhexlify|hexdigits|isalnum|isdigit|isdecimal|fullmatch)$"
    cards = (
        "tokens",
        "authorization",
        "consultation",
        "standing",
        "transactions",
        "remote",
        "events",
        "gateway/ocpp16",
    )
    assert [place for place in where(said, judges, "csms") if place.removeprefix("csms/").startswith(cards)] == []


def test_nothing_branches_on_a_vendor() -> None:  # J01
    def compared(tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Constant) for side in (node.left, *node.comparators)
            ):
                for part in ast.walk(node):
                    if isinstance(part, ast.Attribute | ast.Name):
                        yield node.lineno, part.attr if isinstance(part, ast.Attribute) else part.id

    quirks = f"{GATEWAY}quirks/"
    assert where(compared, r"^(vendor|firmware_version|manufacturer)$", *PACKAGES, allowed=(quirks, SIMULATOR)) == []


def test_a_hard_reset_is_made_in_one_place() -> None:  # R05, T12
    """No job, no page, no partner's command names it: all of them can only ask `resets.hard`, which asks for a person."""
    made = where(said, r"^HARD$", *PACKAGES, allowed=("csms/commands.py", f"{GATEWAY}ocpp16/control.py", SIMULATOR))
    assert {place.partition(":")[0] for place in made} == {"csms/resets.py"}

    def called(tree: ast.Module) -> Found:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "resets":
                yield node.lineno, node.attr

    persons = ("ocpi_bridge/commands/station.py", "ocpi_bridge/console/", "ocpi_bridge/api/")
    assert where(called, r"^hard$", *PACKAGES, allowed=persons) == []


# ---- the tests themselves ---------------------------------------------------------------------------------------------


def test_no_name_of_a_test_holds_what_may_differ_elsewhere(request: pytest.FixtureRequest) -> None:
    """Workers that collected differently run nothing at all: no bytes, no address of an object, no day of today."""
    told = [item.nodeid.partition("[")[2] for item in request.session.items]
    today = datetime.now(UTC).date()
    days = [(today + timedelta(days=day)).isoformat() for day in (-1, 0, 1)]
    odd = [name for name in told if not (name.isascii() and name.isprintable()) or "\\" in name or len(name) > 400]
    assert odd == []
    assert [name for name in told if re.search(r" at 0x[0-9a-f]{6}", name) or any(day in name for day in days)] == []


# ---- packages ---------------------------------------------------------------------------------------------------------


def test_the_gateway_is_usable_alone() -> None:  # H08
    """In a fresh interpreter without database or web framework: a frame is read, an event made, the server imported."""
    program = """
import sys
AWAY = {"sqlalchemy", "psycopg", "alembic", "fastapi", "starlette", "pydantic", "httpx", "uvicorn", "typer", "py_ocpi"}
class Away:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in AWAY:
            raise ImportError(name)
sys.meta_path.insert(0, Away())
import csms.gateway.server
from csms.gateway import frames
call = frames.parse(b'[2,"e2b81cc5-3670-4702-acac-283286697741","Heartbeat",{}]')
print(call.action)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("Heartbeat", "")


def test_a_gateway_of_its_own_loads_nothing_of_the_web_or_of_partners() -> None:  # B02
    away = {"fastapi", "pydantic", "py_ocpi", "httpx", "crud", "adapters"}
    program = f"import sys, ocpi_bridge.roles.gateway; print(sorted({away!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_adapters_only_shape() -> None:  # K06
    """No database, no library of OCPI's, nothing awaited: what crud gives becomes an object, and that is all."""
    assert where(imported, r"^(sqlalchemy|httpx|fastapi|py_ocpi|pydantic|crud|ocpi_bridge)\b", "adapters") == []
    awaits = [
        name_of(path)
        for path in sources("adapters")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await)
    ]
    assert awaits == []


def test_chargers_are_reached_through_their_sockets_only() -> None:  # J06
    # A simulated charger fetches and uploads files as real ones do; a fleet reads its CSMS's memory from its metrics.
    files = ("csms/simulator/transfer.py", "csms/simulator/server_memory.py")
    assert where(imported, r"^(httpx|requests|aiohttp|urllib\.request|http\.client)\b", "csms", allowed=files) == []


def test_every_fact_has_its_versions() -> None:  # A11
    columns = JournalEntry.__table__.columns
    required = ("type", "schema_version", "ocpp_version", "event_id", "subject", "recorded_at", "data")
    assert [name for name in required if columns[name].nullable] == []


def test_every_module_opens_with_a_sentence() -> None:
    silent = [
        name_of(path)
        for path in sources(*PACKAGES)
        if path.name != "__init__.py" and not ast.get_docstring(tree_of(path))
    ]
    assert silent == []


def test_only_the_settings_read_the_environment() -> None:
    # conformance/library.py keeps py_ocpi from reading it; the terminal asks who is sitting there.
    allowed = ("ocpi_bridge/settings.py", "ocpi_bridge/conformance/library.py")
    assert where(said, r"^(environ|getenv|environb)$", *PACKAGES, allowed=allowed) == []


# ---- words ------------------------------------------------------------------------------------------------------------


def test_the_glossary_has_the_fields_terms_and_the_code_keeps_to_them() -> None:  # H01
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    terms = {term.strip() for row in rows for term in row.split(",")}
    assert {"CPO", "eMSP", "CSMS", "Station", "Evse", "Connector", "Transaction", "ChargeRecord", "Location"} <= terms
    others = r"(?i)^(charger_?id|charge_?point_?id|charge_?box(_?id)?|cp_?id|cs_?id|rfid_?tag|session_?id)$"
    assert where(said, others, "csms", allowed=(GATEWAY, SIMULATOR)) == []


# ---- what a newcomer meets --------------------------------------------------------------------------------------------


def test_the_example_network_is_importable() -> None:
    from csms.network_file import read

    document = read((ROOT / "docs" / "network.example.yaml").read_text(encoding="utf-8"))
    assert [site["id"] for site in document["locations"]] == ["LOC1"]
    assert (
        yaml.safe_load((ROOT / "docs" / "network.example.yaml").read_text(encoding="utf-8")).keys() == document.keys()
    )


def test_the_readme_tells_every_setting() -> None:
    from ocpi_bridge.settings import SETTINGS

    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Settings")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`([A-Z_]+)`", cell)} == set(SETTINGS)


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml", "Makefile", ".ci/run"])
def test_no_package_index_is_named(name: str) -> None:
    """Where packages come from is the business of whoever installs."""
    assert re.findall(r"https?://\S+|--(?:extra-)?index-url\s+\S+|--find-links\s+\S+", (ROOT / name).read_text()) == []


def test_every_decision_is_in_the_index_under_its_own_number() -> None:
    folder = ROOT / "docs" / "adr"
    pages = {page.name: page.read_text(encoding="utf-8") for page in folder.glob("0*.md")}
    listed = re.findall(r"^- \[(\d+)\. (.+)\]\((.+)\)$", (folder / "README.md").read_text(encoding="utf-8"), re.M)
    assert {name: f"# {number}. {title}" for number, title, name in listed} == {
        name: text.partition("\n")[0] for name, text in pages.items()
    }
    numbers = [int(name[:4]) for name in sorted(pages)]
    assert numbers == sorted({int(number) for number, *_ in listed})


# ---- one price -------------------------------------------------------------------------------------------------------


def called(tree: ast.Module) -> Found:
    """What is imported from the price's own modules, by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("csms.billing.pricing", "csms.billing.periods"):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_one_function_prices_the_running_session_and_the_bill() -> None:  # TC-28
    """Sessions, displays, bills and their re-pricing all go through csms.billing.sessions, which alone cuts and prices."""
    prices = where(called, r"^(price|price_of|periods|points_from)$", *PACKAGES)
    assert {place.partition(":")[0] for place in prices} == {"csms/billing/sessions.py"}
