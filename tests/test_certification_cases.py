"""Each case of the certification of an OCPP 1.6 central system is named beside a test of ours (OCPP Compliancy Testing Tool,
system under test: Central System)."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CASE = re.compile(r"TC_\d{3}(?:_\d)?_CSMS")

CASES = """
    001 003 004_1 004_2 005_1 007 010 011_1 011_2 012 013 014 017_1 017_2 018_1 019_1 019_2 021 023_1 023_2 023_3 024 026 028
    030 031 032_1 037_1 037_3 039 040_1 040_2 061 064
    042_1 042_2 043_1 043_3 043_4 043_5
    044_1 044_2 044_3 045_1 045_2
    046 047 048_1 048_2 048_3 048_4 049 051 052 053
    054 055
    056 057 059 066 067
    073 074 075_1 075_2 076 077 078 079 080 081 083 085 086 087 088
"""


def test_every_case_of_the_certification_is_tested_and_no_other_is_named() -> None:  # H09
    cases = {f"TC_{number}_CSMS" for number in CASES.split()}
    assert len(cases) == 77
    here = Path(__file__).resolve()
    named = {
        case
        for path in ROOT.rglob("test_*.py")
        if path != here
        for case in CASE.findall(path.read_text(encoding="utf-8"))
    }
    assert named == cases
