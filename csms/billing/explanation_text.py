"""An explanation as lines for people: a driver who asks, an operator who answers."""

from collections.abc import Iterator, Sequence
from itertools import chain

from csms.billing.explanation import BOUNDS, BoundaryTold, Explanation, LineTold, PeriodTold


def as_lines(told: Explanation) -> Sequence[str]:
    """Headings begin at the margin, what belongs under one is indented; an empty line stands between parts."""
    parts = (
        _head(told),
        ("From and to", *chain.from_iterable(map(_boundary, told.boundaries))),
        ("Lines", *chain.from_iterable(_line(number, line) for number, line in enumerate(told.lines, 1))),
        ("Total", f"  {_total(told)}", f"  {told.rounding}"),
        ("Periods", *chain.from_iterable(map(_period, told.periods))),
        ("What else is known", *(f"  {note}" for note in told.notes)) if told.notes else (),
    )
    return [line for part in filter(None, parts) for line in (*part, "")][:-1]


def _head(told: Explanation) -> Iterator[str]:
    yield f"{told.record}: {told.kind}, of session {told.transaction}"
    yield f"  {told.energy_kwh} kWh in {_duration(told.seconds)}, of which parked {_duration(told.parking_seconds)}"
    yield f"  priced by {f'tariff {told.tariff}' if told.tariff else 'no tariff'}; times are those of {told.time_zone}"


def _total(told: Explanation) -> str:
    return f"{told.total_excl_vat} {told.currency} without VAT, {told.total_incl_vat} {told.currency} with VAT"


def _boundary(told: BoundaryTold) -> Iterator[str]:
    yield f"  {told.what} {told.at}: {told.why}"
    heard = [
        words
        for words, known in (
            (f"the charger said {told.claimed_at}", told.claimed_at),
            (f"received {told.received_at}", told.received_at),
            (f"the register showed {told.register_kwh} kWh", told.register_kwh),
        )
        if known is not None
    ]
    if heard:
        yield f"    {', '.join(heard)}"


def _line(number: int, told: LineTold) -> Iterator[str]:
    product = f"{_plain(told.quantity)} {told.unit} x {told.price} = "
    amount = told.excl_vat if told.dimension in BOUNDS else product + told.excl_vat
    yield f"  {number}. {told.dimension}: {amount}; {told.vat}: {told.incl_vat}"
    yield f"     {told.why}"
    for other in told.passed_over:
        yield f"     passed over, for it did not hold then: {other}"
    if told.steps is not None:
        yield f"     {told.steps}"
    if told.periods:
        yield f"     from {'period' if len(told.periods) == 1 else 'periods'} {_ranges(told.periods)}"


def _period(told: PeriodTold) -> Iterator[str]:
    yield f"  {told.number}. {told.start} to {told.end}: {told.energy_kwh} kWh, {told.state}"
    yield f"     at its end: {told.cut}"
    for sample in told.samples:
        yield f"     {sample.at} the register showed {sample.register_kwh} kWh (event {sample.event})"


def _plain(number: str) -> str:
    """Without zeros behind the last digit."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _ranges(numbers: Sequence[int]) -> str:
    """As 1-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
