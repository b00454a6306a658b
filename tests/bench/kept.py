"""What a long run found is kept beside its page as JSON, and the page shows it between two marks, made of that alone."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"


def stamped(found: Mapping[str, Any], tool: str, words: Sequence[str] | None, machine: str) -> dict[str, Any]:
    """With when, where and by which command it was found. `words` None: those of this process."""
    given = " ".join(sys.argv[1:] if words is None else words)
    command = f'make {tool} ARGS="{given}"' if given else f"make {tool}"
    return {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": command, "machine": machine, **found}


def between(page: str, begins: str, ends: str, text: str) -> str:
    before, _, rest = page.partition(begins)
    _, _, after = rest.partition(ends)
    return f"{before}{begins}\n{text}\n{ends}{after}"


# ---- soaks ------------------------------------------------------------------------------------------------------------

SOAK_PAGE, SOAK_KEPT = DOCS / "performance.md", DOCS / "soak.json"
SOAK_BEGINS, SOAK_ENDS = "<!-- the last soaks: made by make soak ARGS=--page -->", "<!-- end of the last soaks -->"


def keep_soak(told: Mapping[str, Any]) -> None:
    """The last of each number of stations and each database."""
    kept = read(SOAK_KEPT)
    kept[f"{told['stations']} {told['database']}"] = told
    SOAK_KEPT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    SOAK_PAGE.write_text(with_soaks(SOAK_PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")


def with_soaks(page: str, kept: Mapping[str, Mapping[str, Any]]) -> str:
    return between(page, SOAK_BEGINS, SOAK_ENDS, soaks_markdown(kept))


def soaks_markdown(kept: Mapping[str, Mapping[str, Any]]) -> str:
    if not kept:
        return "None is kept yet."
    lines = [
        "| chargers | minutes | database | memory of the service | calls answered | MeterValues p99 | lost | run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for told in sorted(kept.values(), key=lambda told: (told["stations"], told["database"])):
        error = "" if told["error"] is None else f" ± {told['error']:.2f}"
        first, last = told["mb"] or (0, 0)
        cells = (
            f"{told['stations']:,}",
            f"{told['minutes']:g}",
            told["database"],
            f"{first:.0f} to {last:.0f} MB, {told['mb_an_hour']:+.2f}{error} MB an hour",
            f"{told['calls']['answered']:,}",
            "" if told["p99_ms"] is None else f"{told['p99_ms']:.4g} ms",
            "; ".join(told["losses"]) or "0",
            f"`{told['command']}` on {told['at']}; {told['machine']}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# ---- chaos ------------------------------------------------------------------------------------------------------------

CHAOS_PAGE, CHAOS_KEPT = DOCS / "chaos.md", DOCS / "chaos.json"
CHAOS_BEGINS, CHAOS_ENDS = "<!-- the last run: made by make chaos ARGS=--page -->", "<!-- end of the last run -->"


def keep_chaos(told: Mapping[str, Any]) -> None:
    CHAOS_KEPT.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    CHAOS_PAGE.write_text(with_chaos(CHAOS_PAGE.read_text(encoding="utf-8"), told), encoding="utf-8")


def with_chaos(page: str, told: Mapping[str, Any]) -> str:
    return between(page, CHAOS_BEGINS, CHAOS_ENDS, chaos_markdown(told) if told else "None is kept yet.")


def chaos_markdown(told: Mapping[str, Any]) -> str:
    by_name: dict[str, list[float]] = {}
    for _, name, took_s in told["faults"]:
        by_name.setdefault(name, []).append(took_s)
    wrong = told["wrong"]
    held = f", {told['reviews']:,} for a person to look at" if "reviews" in told else ""
    return "\n".join(
        [
            f"`{told['command']}` on {told['at']}; {told['machine']}.",
            "",
            f"{told['minutes']:g} minutes, {told['stations']} chargers, {len(told['faults'])} faults: "
            f"{told['answered']:,} calls answered, {told['cut']:,} cut and sent again, {told['charges']:,} charges, "
            f"{told['bills']:,} bills{held}. Lost, doubled or different: {len(wrong)}.",
            *(f"- {line}" for line in wrong),
            "",
            "| fault | times | mended after, at most |",
            "|---|---|---|",
            *(f"| {name} | {len(took)} | {max(took):.1f} s |" for name, took in sorted(by_name.items())),
        ]
    )


def read(file: Path) -> dict[str, Any]:
    """Empty where none was kept."""
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}
