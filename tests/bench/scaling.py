"""The arithmetic of docs/scaling.md: what so many chargers say, and what that takes, from what was measured of one."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
BEGINS, ENDS = "<!-- the arithmetic: made by python -m tests.bench.scaling -->", "<!-- end of the arithmetic -->"

# Measured (docs/performance.md says how, and on what machine).
KB_A_CHARGER = 10  # connected and booted
MB_A_PROCESS = 140  # before the first charger
CHARGERS_A_GATEWAY = 10_000
US = {"Heartbeat": 55, "MeterValues": 210, "other": 150}  # CPU of the whole service in one process, storing included
US_AN_END = 9_000  # of a charge: its bill, and Session and CDR at the partner that pays
US_AN_UPDATE = 4_000  # of a Session at its partner, as it charges
BYTES = {"message": 500, "sample": 1_600, "journal": 300}  # of a row with its indexes, ten values in a sample

# Assumed.
HEARTBEAT_S = 300
FRAMES_A_CHARGE = 8  # Authorize, Start, Stop and statuses
STORM_FRAMES, STORM_S = 4, 60  # Boot and statuses of each, when all come back within a minute
DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Load:
    name: str
    charging: float  # share of the chargers, on average
    sample_s: float
    charges_a_day: float  # of each charger


LOADS = (
    Load(name="an ordinary day", charging=0.1, sample_s=60, charges_a_day=2),
    Load(name="all charge at once", charging=1.0, sample_s=30, charges_a_day=2),
)
FLEETS = (10_000, 100_000, 1_000_000)


def figures(chargers: int, load: Load) -> Iterator[tuple[str, str]]:
    """What it comes to, line by line."""
    beats = chargers / HEARTBEAT_S
    samples = chargers * load.charging / load.sample_s
    others = chargers * load.charges_a_day * FRAMES_A_CHARGE / DAY_S
    ends = chargers * load.charges_a_day / DAY_S
    said = beats * US["Heartbeat"] + samples * US["MeterValues"] + others * US["other"]
    messages = beats + samples + others
    facts = samples + others
    bytes_a_day = (2 * messages * BYTES["message"] + samples * BYTES["sample"] + facts * BYTES["journal"]) * DAY_S
    gateways = -(-chargers // CHARGERS_A_GATEWAY)
    yield "Heartbeats a second", f"{beats:,.0f}"
    yield "MeterValues a second", f"{samples:,.0f}"
    yield "other frames a second", f"{others:,.0f}"
    yield "frames a second in a storm of one minute", f"{chargers * STORM_FRAMES / STORM_S:,.0f}"
    yield "gateways, at 10,000 each", f"{gateways:,}"
    yield "their memory", f"{(chargers * KB_A_CHARGER / 1024 + gateways * MB_A_PROCESS) / 1024:,.1f} GB"
    yield "cores busy with what they say, in one process", f"{said / 1e6:,.1f}"
    yield "rows written a second", f"{2 * messages + samples + facts:,.0f}"
    yield "stored a day, with the message log", f"{bytes_a_day / 1e9:,.0f} GB"
    yield "CDRs a second, if all charge with partners' cards", f"{ends:,.1f}"
    yield "updates of sessions to partners a second, at most", f"{samples:,.0f}"
    yield "cores busy with these two, at most", f"{(ends * US_AN_END + samples * US_AN_UPDATE) / 1e6:,.1f}"


def markdown() -> str:
    lines = []
    for load in LOADS:
        lines += [
            f"**{load.name.capitalize()}**: {load.charging:.0%} charge, a sample each {load.sample_s:g} s, "
            f"a heartbeat each {HEARTBEAT_S} s, {load.charges_a_day:g} charges a day and charger.",
            "",
            f"| chargers | {' | '.join(f'{chargers:,}' for chargers in FLEETS)} |",
            "|---" * (1 + len(FLEETS)) + "|",
        ]
        columns = [list(figures(chargers, load)) for chargers in FLEETS]
        lines += [f"| {row[0][0]} | {' | '.join(value for _, value in row)} |" for row in zip(*columns, strict=True)]
        lines.append("")
    return "\n".join(lines)


def with_arithmetic(page: str) -> str:
    before, _, rest = page.partition(BEGINS)
    _, _, after = rest.partition(ENDS)
    return f"{before}{BEGINS}\n{markdown()}{ENDS}{after}"


def main() -> int:
    PAGE.write_text(with_arithmetic(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
