"""docs/acceptance.md and docs/ocpi-conformance.md say what the tests show, and nothing more."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ACCEPTANCE = ROOT / "docs" / "acceptance.md"
CONFORMANCE = ROOT / "docs" / "ocpi-conformance.md"

ROW = r"[A-HJKPQRX]\d{2}|T[1-9]\d?"
CHECK = r"(?:TR|ID|RT|TY|PG|PU|VE|CR|LO|TA|TC|SE|CD|TK|CM|CP|HC|XT|V1|V3|ER)-\d{2}"
ID = re.compile(rf"(?<![\w*#-])(?:{CHECK}|{ROW})(?![\w*])")
RANGE = re.compile(r"\b([A-Z][A-Z\d]?-?)(\d\d)(?:-| to )\1(\d\d)\b")  # TR-02 to TR-07, C01-C05
STATES = {"done", "part", "later", "n.a."}


@dataclass(frozen=True, kw_only=True)
class Line:
    id: str
    what: str
    state: str
    tests: tuple[str, ...]  # path, or path::name, under tests/


def read(page: Path) -> list[Line]:
    lines = []
    for text in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        if text.startswith("|") and ID.fullmatch(cells[0]):
            tests = tuple(re.findall(r"`([^`]+)`", cells[-1]))
            lines.append(Line(id=cells[0], what=cells[-3], state=cells[-2], tests=tests))
    return lines


def ids_in(text: str) -> set[str]:
    return set(ID.findall(RANGE.sub(_spelled_out, text)))


def _spelled_out(match: re.Match[str]) -> str:
    return " ".join(f"{match[1]}{number:02}" for number in range(int(match[2]), int(match[3]) + 1))


def remarks(path: Path) -> str:
    """What a test file says to its reader: its comments and docstrings."""
    source = path.read_text(encoding="utf-8")
    comments = (
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    )
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    docstrings = (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented))
    return "\n".join([*comments, *docstrings])


@functools.cache
def ids_named_in(path: Path) -> set[str]:
    return ids_in(remarks(path))


def files_of_tests() -> Iterator[Path]:
    return (path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__))


PAGES = pytest.mark.parametrize("page", [ACCEPTANCE, CONFORMANCE], ids=lambda page: page.stem)


@PAGES
def test_each_id_has_one_line_and_a_state(page: Path) -> None:
    lines = read(page)
    ids = [line.id for line in lines]
    assert len(ids) > 100
    assert [id for id in set(ids) if ids.count(id) > 1] == []
    assert [line.id for line in lines if line.state not in STATES or not line.what] == []


@PAGES
def test_every_named_test_exists(page: Path) -> None:
    missing = []
    for line in read(page):
        for named in line.tests:
            path, _, name = named.partition("::")
            file = ROOT / "tests" / path
            if not file.is_file() or not re.search(
                rf"^\s*(?:async )?def {name or r'test_'}", file.read_text(), re.MULTILINE
            ):
                missing.append(f"{line.id}: {named}")
    assert missing == []


@PAGES
def test_what_is_done_names_a_test_that_names_it(page: Path) -> None:
    unshown = []
    for line in read(page):
        files = [ROOT / "tests" / named.partition("::")[0] for named in line.tests]
        if line.state == "done" and not any(line.id in ids_named_in(file) for file in files if file.is_file()):
            unshown.append(line.id)
    assert unshown == []


@PAGES
def test_what_is_later_claims_no_test(page: Path) -> None:
    assert [line.id for line in read(page) if line.state == "later" and line.tests] == []


def test_every_id_that_a_test_names_has_a_line() -> None:
    known = {line.id for page in (ACCEPTANCE, CONFORMANCE) for line in read(page)}
    unknown = {
        f"{path.relative_to(ROOT)}: {id}" for path in files_of_tests() for id in ids_named_in(path) if id not in known
    }
    assert sorted(unknown) == []
