"""What was aimed at and what was reached, a row for each: printed, and as JSON."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

WORDS = {True: "pass", False: "MISS", None: "-"}
COLOURS = {True: "[green]pass", False: "[red]MISS", None: "-"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """`ratio`: how often the target is reached, 1 and more is good; None without a target, or where nothing was measured.
    `database`: sqlite, postgresql, or "" where none plays a part."""

    what: str
    reached: str
    target: str = ""
    ratio: float | None = None
    database: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= 1


def at_least(what: str, reached: float, target: float, unit: str, *, database: str = "", aim: str = "") -> Row:
    return Row(
        what=what,
        reached=f"{reached:,.4g} {unit}".strip(),
        target=f">= {target:,g} {unit}{aim}".strip(),
        ratio=reached / target,
        database=database,
    )


def at_most(what: str, reached: float, target: float, unit: str, *, database: str = "", also: bool = True) -> Row:
    """`also`: what else must hold."""
    ratio = target / reached if reached > 0 else 0.0  # nothing measured is nothing reached
    return Row(
        what=what,
        reached=f"{reached:,.4g} {unit}",
        target=f"<= {target:,g} {unit}",
        ratio=ratio if also else 0.0,
        database=database,
    )


def printed(rows: Iterable[Row]) -> Table:
    table = Table(title="targets", title_justify="left")
    for column in ("what", "database", "target", "reached", "ratio", ""):
        table.add_column(column, justify="right" if column in ("target", "reached", "ratio") else "left")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.what, row.database, row.target, row.reached, ratio, COLOURS[row.met])
    return table


def as_json(rows: Sequence[Row], command: str, machine: str) -> dict[str, Any]:
    return {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "command": command, "machine": machine} | {
        "rows": [asdict(row) | {"met": row.met} for row in rows]
    }


def machine() -> str:
    model = "unknown processor"
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        model = names[0] if names else model
    load = f", load {os.getloadavg()[0]:.1f} when it began" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores of {model}{load}; {platform.python_implementation()} {platform.python_version()}"


def markdown(told: dict[str, Any]) -> str:
    """The same table for docs/performance.md."""
    lines = [
        f"`{told['command']}` on {told['at']}; {told['machine']}.{_took(told.get('parts', ()))}",
        "",
        "| what | database | target | reached | ratio | |",
        "|---|---|---|---|---|---|",
    ]
    for row in told["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells = (row["what"], row["database"], row["target"], row["reached"], ratio, WORDS[row["met"]])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _took(parts: Sequence[dict[str, Any]]) -> str:
    if not parts:
        return ""
    minutes = sum(part["took_s"] for part in parts) / 60
    each = ", ".join(f"{part['name']} {part['took_s']:.0f} s" for part in parts)
    return f" It took {minutes:.0f} minutes: {each}."
