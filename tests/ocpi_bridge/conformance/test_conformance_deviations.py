"""Each entry of the deviations has its test, and is still needed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ocpi_bridge import conformance
from ocpi_bridge.conformance import library
from ocpi_bridge.conformance.deviations import DEVIATIONS

HERE = Path(__file__).parent
NAMES = [deviation.name for deviation in DEVIATIONS]


@pytest.fixture(scope="module")
def stock() -> dict[str, bool]:
    command = [sys.executable, "-W", "ignore", str(HERE / "stock_py_ocpi.py")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, bool] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_py_ocpi_still_deviates(name: str, stock: dict[str, bool]) -> None:
    assert stock[name], f"py_ocpi no longer deviates here: delete {name!r} and its repair"


def test_every_deviation_has_a_test_of_its_name() -> None:
    tests = {
        node.name
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert [name for name in NAMES if f"test_{name}" not in tests] == []


def test_every_repair_names_a_module() -> None:
    package = Path(conformance.__file__).parent
    places = {path.stem for path in (*package.glob("*.py"), *package.parent.glob("ocpi_app.py"))}
    assert {part.strip() for each in DEVIATIONS for part in each.repair.split(",")} <= places
    assert len(set(NAMES)) == len(NAMES)


def test_another_version_of_py_ocpi_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "REPAIRED_VERSION", "2099.1.1")
    with pytest.raises(library.UnknownPyOcpi, match=r"2099\.1\.1"):
        library.load()


def run_here(code: str, environment: dict[str, str], folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_settings_from_any_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NO_AUTH=true\nENVIRONMENT=staging\nCOUNTRY_CODE=ZZ\n")
    code = (
        "import ocpi_bridge.conformance\n"
        "from py_ocpi.core.config import settings\n"
        "print(settings.NO_AUTH, settings.ENVIRONMENT, settings.COUNTRY_CODE)"
    )
    assert run_here(code, {"NO_AUTH": "1", "ENVIRONMENT": "bogus"}, tmp_path) == "False production US\n"


def test_token_uids_logged(tmp_path: Path) -> None:
    code = (
        "import logging\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "import ocpi_bridge.conformance\n"
        "from py_ocpi.core.config import logger\n"
        "logger.info('uid 0123'); logger.error('uid 0123')"
    )
    assert run_here(code, {}, tmp_path) == ""
