"""``volc-moderation demo``: a thousand tasks started and stopped at both vendors' full quotas, none refused."""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from volc_moderation import Action, ModerationError, Reply, VolcengineClient, ZegoClient
from volc_moderation.cli.call import BAD_USAGE
from volc_moderation.client import Client
from volc_moderation.emulator import EmulatorProcess, Settings
from volc_moderation.volcengine import StartWebcast, StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

#: Seconds; longer ones are slips.
Delay = Annotated[tuple[float, float], Parameter(validator=Number(gte=0, lt=60))]

#: Seconds between two looks at the emulator's counts.
GLANCE = 0.2


@attrs.define
class Batch:
    """All calls of one action."""

    action: type[Action[Any]]
    calls: int
    answered: int = 0
    retried: int = 0
    errors: list[ModerationError] = attrs.field(factory=list)
    #: On the clock of ``time.monotonic``.
    began: float = 0.0
    ended: float = 0.0
    past_second: deque[float] = attrs.field(factory=deque)
    #: What the emulator saw: refused for the rate, and most in any second.
    throttled: int = 0
    most: int = 0
    accepted: int = 0

    async def run(self, client: Client, actions: Iterable[Action[Any]]) -> list[Reply[Any]]:
        """Await all calls at once."""
        self.began = time.monotonic()
        replies = await asyncio.gather(*(self._call(client, action) for action in actions))
        self.ended = time.monotonic()
        return [reply for reply in replies if reply is not None]

    async def _call(self, client: Client, action: Action[Any]) -> Reply[Any] | None:
        try:
            reply = await client.call(action)
        except ModerationError as error:
            self.errors.append(error)
            return None
        self.answered += 1
        self.retried += reply.attempts - 1
        self.past_second.append(time.monotonic())
        return reply

    @property
    def rate(self) -> int:
        """How many were answered in the past second."""
        while self.past_second and self.past_second[0] < time.monotonic() - 1:
            self.past_second.popleft()
        return len(self.past_second)

    @property
    def of_quota(self) -> float:
        """Accepted calls per second, as a share of the quota."""
        return self.accepted / (self.ended - self.began) / self.action.quota.limit

    @property
    def is_perfect(self) -> bool:
        """Whether all were accepted, none refused, and no second above the quota."""
        return self.accepted == self.calls and not self.throttled and self.most <= self.action.quota.limit


def demo(
    *,
    webcasts: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 600,
    audio: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 400,
    delay: Delay = (0.02, 0.05),
    svg: Path | None = None,
) -> int:
    """Start and stop a thousand tasks at full quota, against an emulator in a process of its own.

    Parameters
    ----------
    webcasts
        Webcasts to start and stop at Volcengine.
    audio
        Audio moderations to start and stop at ZEGO.
    delay
        Shortest and longest time, in seconds, that a request takes there, and an answer back.
    svg
        File to write a picture of the result to.

    """
    if svg is not None and not os.access(svg.parent, os.W_OK):
        return complain(f"cannot write to {svg}")
    console = Console(record=svg is not None)
    code = asyncio.run(_demo(console, webcasts, audio, delay))
    if svg is not None:
        # Without the fonts that rich's picture would load from elsewhere.
        picture = re.sub(
            r"@font-face \{.*?\}\s*", "", console.export_svg(title="volc-moderation demo"), flags=re.DOTALL
        )
        svg.write_text(picture, encoding="utf-8")
    return code


def complain(what: str) -> int:
    """Say on standard error what is wrong with the usage."""
    Console(stderr=True).print(what, highlight=False, markup=False)
    return BAD_USAGE


async def _demo(console: Console, webcasts: int, audio: int, delay: tuple[float, float]) -> int:
    low, high = (round(seconds * 1000) for seconds in delay)
    console.print(
        f"Starting and stopping {webcasts} webcasts at Volcengine and {audio} audio moderations at ZEGO, all awaited "
        f"at once, against an emulator that refuses what breaks a quota in any second. One way: {low} to {high} ms.",
        highlight=False,
    )
    batches = [
        Batch(StartWebcast, webcasts),
        Batch(StopWebcast, webcasts),
        Batch(StartCensorAudioV2, audio),
        Batch(StopCensorAudioV2, audio),
    ]
    settings = Settings(delay=delay)
    began = time.monotonic()
    async with (
        EmulatorProcess(settings) as emulator,
        VolcengineClient(
            access_key=settings.access_key, secret_key=settings.secret_key, base_url=emulator.base_url
        ) as volcengine,
        ZegoClient(app_id=settings.app_id, server_secret=settings.server_secret, base_url=emulator.base_url) as zego,
    ):
        with Live(_progress(batches), console=console, transient=True, refresh_per_second=10) as live:
            watcher = asyncio.create_task(_watch(emulator, batches, live))
            try:
                await asyncio.gather(_webcasts(volcengine, *batches[:2]), _audio(zego, *batches[2:]))
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
        _take(batches, await emulator.counts())
    console.print(_summary(batches))
    return _conclude(console, batches, time.monotonic() - began)


async def _webcasts(client: VolcengineClient, start: Batch, stop: Batch) -> None:
    rooms = [f"room-{number}" for number in range(start.calls)]
    page = "https://example.com/wall"
    await start.run(
        client,
        [
            StartWebcast(app_id="app", room_id=room, task_id="webcast", user_id="webcast_page", source_url=page)
            for room in rooms
        ],
    )
    await stop.run(client, [StopWebcast(app_id="app", room_id=room, task_id="webcast") for room in rooms])


async def _audio(client: ZegoClient, start: Batch, stop: Batch) -> None:
    actions = [
        StartCensorAudioV2(
            room_id=f"room-{number}", event_id="audio_room", audio_language="en", risk_type_list=["DIRTY", "VIOLENT"]
        )
        for number in range(start.calls)
    ]
    replies = await start.run(client, actions)
    await stop.run(client, [StopCensorAudioV2(task_id=reply.result.task_id) for reply in replies])


async def _watch(emulator: EmulatorProcess, batches: list[Batch], live: Live) -> None:
    while True:
        _take(batches, await emulator.counts())
        live.update(_progress(batches))
        await asyncio.sleep(GLANCE)


def _take(batches: list[Batch], counts: dict[str, dict[str, Any]]) -> None:
    for batch in batches:
        count = counts.get(batch.action.name, {})
        batch.throttled = count.get("throttled", 0)
        batch.accepted = count.get("accepted", 0)
        batch.most = count.get("most_in_any_second", 0)


def _progress(batches: list[Batch]) -> Table:
    table = Table("action", "progress", "past second", "refused", "retried", box=None, pad_edge=False)
    for batch in batches:
        table.add_row(
            batch.action.name,
            ProgressBar(total=batch.calls, completed=batch.answered, width=28),
            f"{batch.rate:3} of {batch.action.quota.limit}",
            str(batch.throttled),
            str(batch.retried),
        )
    return table


def _summary(batches: list[Batch]) -> Table:
    table = Table(Column("action", no_wrap=True), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("calls", "accepted/s\nof quota", "most in\nany 1 s", "refused", "retried", "wall\ntime"):
        table.add_column(heading, justify="right", no_wrap=True)
    for batch in batches:
        table.add_row(
            batch.action.name,
            str(batch.calls),
            f"{batch.of_quota:.3f}",
            f"{batch.most}/{batch.action.quota.limit}",
            str(batch.throttled),
            str(batch.retried),
            f"{batch.ended - batch.began:.1f} s",
        )
    return table


def _conclude(console: Console, batches: list[Batch], seconds: float) -> int:
    started, stopped = (sum(batch.accepted for batch in batches[first::2]) for first in (0, 1))
    refused = sum(batch.throttled for batch in batches)
    console.print(f"{started} started, {stopped} stopped, {refused} refused, in {seconds:.1f} s.", highlight=False)
    for error in [error for batch in batches for error in batch.errors][:5]:
        console.print(f"[red]{error}[/red]")
    return 0 if all(batch.is_perfect for batch in batches) else 1
