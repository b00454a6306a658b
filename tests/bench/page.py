"""The last run of the benchmark is kept beside docs/performance.md, and its table in that page is made of it."""

import json
from typing import Any

from tests.bench.kept import DOCS, between
from tests.bench.table import markdown

PAGE, KEPT = DOCS / "performance.md", DOCS / "performance.json"
BEGINS, ENDS = "<!-- the last run: made by make bench ARGS=--page -->", "<!-- end of the last run -->"


def write(told: dict[str, Any]) -> None:
    KEPT.write_text(json.dumps(told, indent=2) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), told))


def with_table(page: str, told: dict[str, Any]) -> str:
    return between(page, BEGINS, ENDS, markdown(told))
