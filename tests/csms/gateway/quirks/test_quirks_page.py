"""docs/vendor-quirks.md says what the entries say."""

from pathlib import Path

from csms.gateway.quirks.catalogue import load
from csms.gateway.quirks.page import render

PAGE = Path(__file__).parents[4] / "docs" / "vendor-quirks.md"


def test_the_page_is_made_from_the_entries() -> None:  # Q07
    assert PAGE.read_text(encoding="utf-8") == render(load()), "run: make quirks"


def test_every_entry_is_on_the_page_with_its_repro_and_its_source() -> None:  # Q07
    page = PAGE.read_text(encoding="utf-8")
    for quirk in load():
        assert f"### {quirk.id}\n" in page
        assert all(line in page for line in quirk.repro)
        assert quirk.source in page
