"""What a simulated charger is like: its make, its wiring, and the faults it was built with."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from csms.simulator.meter import MWH_PER_UNIT, PowerSteps

AS_MEASURED = ""  # unit_label: name the unit that the values are in


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Every fault is a field, so that a scenario is `replace(profile, fault=...)` and faults combine.

    `url` is the CSMS's OCPP address without the identity. `serial_number` None: the Boot carries none. `clock_frozen_at`:
    a clock that stands still. `meter_unit` is what MeterValues are in and `unit_label` what they claim, None claims
    nothing; `start_unit` and `stop_unit` are those of meterStart and meterStop (the spec: Wh). `power_steps` empty: constant
    `max_power_w`. `lost_answers`: so many answers to each transaction message are lost on the way. `answer_delay_s`: how
    long it thinks over the CSMS's calls. `twin_status`: a single connector reports itself as 0 and as 1. `shows_cost`:
    it has a display for prices and costs (California pricing). `reconnect_after_s` None: a cut line stays cut. Delays and
    timeouts are of the wall clock, whatever the scenario's time.
    """

    station_id: str
    url: str = "ws://127.0.0.1:9000/ocpp"
    password: str | bytes | None = field(default=None, repr=False)
    connectors: int = 2
    vendor: str = "roambridge"
    model: str = "simulated"
    serial_number: str | None = None
    firmware_version: str = "1.0.0"
    shows_cost: bool = False

    clock_offset: timedelta = timedelta()
    clock_frozen_at: datetime | None = None
    follows_current_time: bool = True

    max_power_w: int = 11_000
    power_steps: PowerSteps = ()
    sample_interval_s: int = 60
    register_start_mwh: int = 12_345_678
    register_resets_on_boot: bool = False
    meter_unit: str = "Wh"
    unit_label: str | None = AS_MEASURED
    start_unit: str = "Wh"
    stop_unit: str = "Wh"

    id_token_prefix: str = ""
    twin_status: bool = False
    lost_answers: int = 0
    answer_delay_s: float = 0.0
    answer_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    reconnect_after_s: float | None = None

    def __post_init__(self) -> None:
        if not self.station_id:
            raise ValueError("a charger needs an identity")
        if self.connectors < 1:
            raise ValueError("a charger needs a connector")
        for unit in (self.meter_unit, self.start_unit, self.stop_unit):
            if unit.casefold() not in MWH_PER_UNIT:
                raise ValueError(f"{unit} is no unit of energy; known are Wh and kWh")
