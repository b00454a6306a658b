"""The loader takes whole entries only, names every mistake by its place, and knows whose each entry is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from csms.gateway.quirks.catalogue import BadQuirks, Quirks, load, read
from csms.gateway.quirks.matching import matches, matches_firmware, unreadable_range

ENTRY: dict[str, Any] = {
    "id": "acme-suffix",
    "vendor": "Acme",
    "model": "*",
    "firmware": "<2.4",
    "why": "It writes its serial behind the card.",
    "source": "seen on 2026-06-01",
    "repro": ['[2,"1","Authorize",{"idTag":"04A2_1"}]'],
    "expect": {"events": [{"id_token": "04A2"}]},
    "fix": "strip_id_token_suffix",
}


def entries(*changed: dict[str, Any]) -> Quirks:
    text = yaml.safe_dump([{k: v for k, v in (ENTRY | changes).items() if v is not None} for changes in changed])
    return read([("mine.yaml", text)])


def test_a_whole_entry_is_read() -> None:  # Q06
    (quirk,) = entries({})
    assert (quirk.id, quirk.vendor, quirk.firmware, quirk.fix) == (
        "acme-suffix", "Acme", "<2.4", "strip_id_token_suffix"
    )  # fmt: skip
    assert quirk.repro == ('[2,"1","Authorize",{"idTag":"04A2_1"}]',)


@pytest.mark.parametrize(
    "left_out", ["id", "vendor", "model", "firmware", "why", "source", "repro", "expect", "fix"]
)  # fmt: skip
def test_an_entry_that_lacks_something_is_refused(left_out: str) -> None:  # Q06
    with pytest.raises(BadQuirks, match=left_out):
        entries({left_out: None})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vendor": ""}, "vendor"),
        ({"why": ""}, "why"),
        ({"repro": []}, "repro"),
        ({"repro": "[2]"}, "repro"),
        ({"repro": ["[2,\n]"]}, "repro"),
        ({"expect": {}}, "expect"),
        ({"firmware": 2.4}, "firmware"),
        ({"firmware": "<two"}, "a range is written as"),
        ({"id": "Acme Suffix"}, "id"),
        ({"fix": "make_it_work"}, "there is no fix make_it_work"),
        ({"comment": "x"}, "comment"),
        ({"vendor": "*"}, "a fix that changes what is said is for a named vendor"),
        ({"settings": {"throttle_key": "K"}}, "strip_id_token_suffix needs none"),
        ({"fix": "throttle_by_key"}, "throttle_by_key needs throttle_key"),
        ({"settings": {"colour": "red"}}, "colour"),
        ({"fix": "handled_by_core"}, "handled_by"),
        ({"handled_by": "csms.tokens.normalize"}, "belongs to handled_by_core"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:  # Q06, D02
    with pytest.raises(BadQuirks) as refused:
        entries(changes)
    assert len(refused.value.problems) == 1
    assert said in refused.value.problems[0]
    assert refused.value.problems[0].startswith("mine.yaml: ")


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(BadQuirks) as refused:
        entries({"fix": "none"}, {"id": "b", "why": None}, {"id": "c"}, {"id": "c"})
    assert [problem.split(": ")[1] for problem in refused.value.problems] == ["acme-suffix", "b", "c"]
    assert "stands in another entry too" in refused.value.problems[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: x", "must be a list"),
        ("- {id: a, id: b}", "stands here twice"),
        ("- [", "no YAML"),
        ("- text", "entry 1"),
        ("", "must be a list"),
    ],
)
def test_what_is_no_list_of_entries_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadQuirks, match=said):
        read([("mine.yaml", text)])


def test_the_operators_own_entries_join_those_shipped(tmp_path: Path) -> None:  # Q06
    shipped = load()
    assert len(shipped) > 15
    (tmp_path / "acme.yaml").write_text(yaml.safe_dump([ENTRY]), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not ours", encoding="utf-8")
    assert [quirk.id for quirk in load(tmp_path).of("ACME", "X", "2.3.9")] == ["acme-suffix"]
    assert len(load(tmp_path)) == len(shipped) + 1
    assert len(load(tmp_path / "absent")) == len(shipped)
    (tmp_path / "twice.yaml").write_text(yaml.safe_dump([ENTRY]), encoding="utf-8")
    with pytest.raises(BadQuirks, match=r"twice\.yaml: acme-suffix: id"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "text", "match"),
    [
        ("*", "", True),
        ("Acme", "acme", True),
        ("Acme", " Acme ", True),
        ("Acme", "Acme Ltd", False),
        ("Acme*", "ACME Ltd", True),
        ("NG910-?????", "ng910-60023", True),
        ("[AB]cme", "Bcme", True),
    ],
)
def test_vendors_and_models_are_globs_in_any_case(pattern: str, text: str, match: bool) -> None:  # Q06
    assert matches(pattern, text) is match


@pytest.mark.parametrize(
    ("pattern", "text", "match"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("4.2.2*", "4.2.2-beta", True),
        ("4.2.2", "4.2.20", False),
        ("<2.4", "2.3.99", True),
        ("<2.4", "2.4", False),
        ("<2.4", "2.4.0", False),
        ("<=2.4", "2.4.0", True),
        ("<2.10", "2.9", True),
        (">=1.2 <2", "1.2", True),
        (">=1.2 <2", "1.99.1", True),
        (">=1.2 <2", "2.0", False),
        (">=1.2 <2", "1.1.9", False),
        ("=5.621", "v05.621", True),
        ("<1.9", "TAC3Z9119006710273::V1.8.21", True),
        ("<2.9", "SW:A1B_2.8-HW:B07_0.5", True),
        (">7.026", "GWM-07.027-03_GCW-10.22-05.7", True),
        ("<2", "1", True),
        ("<2.4", "", False),
        ("<2.4", "unknown", False),
    ],
)
def test_firmware_is_a_glob_or_a_range(pattern: str, text: str, match: bool) -> None:  # Q06
    assert matches_firmware(pattern, text) is match
    assert not unreadable_range(pattern)


@pytest.mark.parametrize("pattern", ["<", "< 2", "<two", ">=1.2 2", "<1.x"])
def test_a_range_that_cannot_be_read_is_said_so(pattern: str) -> None:
    assert unreadable_range(pattern)


def test_a_quirk_is_of_the_station_whose_boot_says_so() -> None:
    quirks = entries({}, {"id": "b", "vendor": "*", "fix": "handled_by_core", "handled_by": "csms.tokens.normalize"})
    assert [quirk.id for quirk in quirks.of("Acme", None, "2.3")] == ["acme-suffix"]
    assert quirks.of("Acme", "X", "2.4") == ()
    assert quirks.of("Acme", "X", None) == ()
    assert quirks.of("", "X", "2.3") == ()
    assert quirks.of(None, None, None) == ()


def test_settings_are_known_by_station() -> None:  # Q03, G10
    quirks = entries(
        {"fix": "throttle_by_key", "settings": {"throttle_key": "MaxA"}},
        {"id": "b", "fix": "leave_settings_alone", "settings": {"leave_alone": "HeartbeatInterval WebSocketPingInterval"}},
    )  # fmt: skip
    assert quirks.throttle_key("Acme", "X", "2.3") == "MaxA"
    assert quirks.throttle_key("Other", "X", "2.3") is None
    assert quirks.left_alone("Acme", "X", "2.3") == {"HeartbeatInterval", "WebSocketPingInterval"}
    assert quirks.left_alone("Acme", "X", "3") == frozenset()
