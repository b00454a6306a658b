"""What our address says of a body that it refuses."""

import httpx


def refused_field(answer: httpx.Response) -> str:
    """The field that is named in the error (status 2001)."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status_code"] == 2001
    return str(body["data"]["errors"][0]["field"])
