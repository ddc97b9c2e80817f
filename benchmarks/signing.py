"""Signing one StopDetection: ours against the official signer of volcenginesdk-core, in the same run.

``python -m benchmarks.signing``. Both sign the same body to the same query, alternately; the best of many rounds
counts, which is what is left when the rest of the machine is quiet.
"""

import time
from collections.abc import Callable

from matplotlib.axes import Axes
from volcenginesdkcore.signv4 import SignerV4

from benchmarks.results import Result, bars
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine.signing import Signer, canonical_query

ROUNDS = 60
CALLS = 500
GOAL = 3.0

HOST = "rtc.volcengineapi.com"
QUERY = {"Action": "StopDetection", "Version": "2023-11-01"}
BODY = '{"AppId":"661e0000000000000000543c","RoomId":"Room1","UserId":"user1"}'
ACCESS_KEY, SECRET_KEY = "AKLTexample", "U0tleGFtcGxlc2VjcmV0a2V5Zm9ydGVzdHM9PQ=="

signer = Signer(VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY), region="cn-north-1")


def ours() -> str:
    """Sign as a call does: the query, the body's hash, the time of now."""
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
    """Sign as the official client does."""
    headers = {"Content-Type": "application/json", "Host": HOST}
    SignerV4.sign("/", "POST", headers, BODY, None, QUERY, ACCESS_KEY, SECRET_KEY, "cn-north-1", "rtc")
    return headers["Authorization"]


def cost(sign: Callable[[], str]) -> float:
    """Return the CPU seconds of one signature."""
    began = time.process_time()
    for _ in range(CALLS):
        sign()
    return (time.process_time() - began) / CALLS


def agree() -> bool:
    """Tell whether both make the same signature; a second may begin in between, so more than one try."""
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
    result.goal("times as fast as the official signer", costs["official"] / costs["volc_moderation"], at_least=GOAL)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(costs), [seconds * 1e6 for seconds in costs.values()], "µs of CPU a signature")

    result.finish(draw, height=1.6)


if __name__ == "__main__":
    main()
