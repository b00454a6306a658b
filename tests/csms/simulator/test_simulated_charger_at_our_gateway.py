"""The simulated charger and our gateway understand each other in all that may be asked: what others test with it holds."""

from typing import Any

import msgspec
import pytest

from csms.commands import Outcome
from csms.simulator.charge_point import ChargePoint
from csms.simulator.profile import Profile
from tests.csms.gateway.gateway_rig import Rig, gateway_running
from tests.csms.gateway.test_gateway_every_message import ASKED

NOBODY = "http://127.0.0.1:9/f"  # refused at once
REFUSED = {
    "RemoteStopTransaction": Outcome.REJECTED,  # none runs
    "CancelReservation": Outcome.REJECTED,
    "ReserveNow": Outcome.REJECTED,  # until an hour that is long past
    "ChangeConfiguration": Outcome.NOT_SUPPORTED,  # it knows no such setting
    "DataTransfer": Outcome.NOT_SUPPORTED,
    "SignedUpdateFirmware": Outcome.REJECTED,  # no certificate that could be read
    "InstallCertificate": Outcome.REJECTED,
    "CertificateSigned": Outcome.REJECTED,
    "DeleteCertificate": Outcome.NOT_FOUND,
    "GetInstalledCertificateIds": Outcome.NOT_FOUND,
    "ClearChargingProfile": Outcome.NOT_FOUND,
}


@pytest.mark.parametrize("action", ASKED)
async def test_every_command_has_an_answer(action: str) -> None:
    command: Any = ASKED[action][0][0]
    if hasattr(command, "url"):
        command = msgspec.structs.replace(command, url=NOBODY, retries=0)
    async with gateway_running(Rig()) as rig:
        profile = Profile(station_id="CP1", url=f"ws://127.0.0.1:{rig.port}/ocpp")
        async with ChargePoint(profile) as charger:
            await charger.start()
            answer = await rig.connections.send(command, timeout_s=30)
            assert answer.outcome is REFUSED.get(action, Outcome.ACCEPTED)
            assert [asked.action for asked in charger.commands] == [action]
