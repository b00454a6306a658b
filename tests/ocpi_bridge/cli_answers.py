"""What a command of the tests answered: its objects, or the one clear line of its refusal."""

import json
from typing import Any


def objects(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def refusal(result: Any) -> str:
    """One clear line on stderr, exit 1, no traceback."""
    assert result.exit_code == 1, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("roambridge: ")
    return str(line.removeprefix("roambridge: "))
