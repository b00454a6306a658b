"""A recording, faulty OCPI eMSP of 2.2.1 or 2.1.1 to test and demonstrate against; it shares no code with the service."""

from ocpi_bridge.emsp_simulator.answers import Answer
from ocpi_bridge.emsp_simulator.book import Allow, Authorization, Complaint, Fault, Received
from ocpi_bridge.emsp_simulator.cpo import Command, CpoRefused, Reply
from ocpi_bridge.emsp_simulator.simulator import EmspSimulator

__all__ = [
    "Allow",
    "Answer",
    "Authorization",
    "Command",
    "Complaint",
    "CpoRefused",
    "EmspSimulator",
    "Fault",
    "Received",
    "Reply",
]
