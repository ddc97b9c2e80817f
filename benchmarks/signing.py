"""Signing one StopDetection: our signer against the official one of volcenginesdk-core, in the same run.

``python -m benchmarks.signing``. Both sign the same body and query, alternately. The best of many rounds counts: it is
the least disturbed by other load on the machine.
"""

import time
from collections.abc import Callable

from matplotlib.axes import Axes
from volcenginesdkcore.signv4 import SignerV4

from benchmarks.results import Result, bars
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine.signing import Signer, canonical_query

ROUNDS = 60
SIGNATURES_PER_ROUND = 500
#: How many times as fast as the official signer ours must be.
MIN_SPEEDUP = 3.0

HOST = "rtc.volcengineapi.com"
QUERY = {"Action": "StopDetection", "Version": "2023-11-01"}
BODY = '{"AppId":"661e0000000000000000543c","RoomId":"Room1","UserId":"user1"}'
ACCESS_KEY, SECRET_KEY = "AKLTexample", "U0tleGFtcGxlc2VjcmV0a2V5Zm9ydGVzdHM9PQ=="

signer = Signer(VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY), region="cn-north-1")


def ours() -> str:
    """Sign like a call, with the current time."""
    headers = signer.sign(
        method="POST",
        host=HOST,
        query=canonical_query(QUERY),
        body=BODY.encode(),
        now=time.time(),
        content_type="application/json",
    )
    return headers["Authorization"]


def official() -> str:
    """Sign like the official client."""
    headers = {"Content-Type": "application/json", "Host": HOST}
    SignerV4.sign("/", "POST", headers, BODY, None, QUERY, ACCESS_KEY, SECRET_KEY, "cn-north-1", "rtc")
    return headers["Authorization"]


def cost(sign: Callable[[], str]) -> float:
    """Return the CPU seconds of one signature."""
    started = time.process_time()
    for _ in range(SIGNATURES_PER_ROUND):
        sign()
    return (time.process_time() - started) / SIGNATURES_PER_ROUND


def agree() -> bool:
    """Return whether both signatures are equal. A new second may begin between the two, so there are several tries."""
    return any(ours() == official() for _ in range(3))


def main() -> None:
    assert agree()
    result = Result("signing", "signing one StopDetection", "volcenginesdk-core", rounds=ROUNDS)
    costs: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, sign in (("volc_moderation", ours), ("official", official)):
            costs[name] = min(costs.get(name, 1.0), cost(sign))
    for name, seconds in costs.items():
        result.add(signer=name, us=seconds * 1e6)
    result.goal(
        "times as fast as the official signer", costs["official"] / costs["volc_moderation"], at_least=MIN_SPEEDUP
    )

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(costs), [seconds * 1e6 for seconds in costs.values()], "µs of CPU per signature")

    result.finish(draw, height=1.6)


if __name__ == "__main__":
    main()
