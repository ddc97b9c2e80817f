"""The emulator: both vendors on one port, with a delay, with faults, and with a count of everything.

A request goes: delay, count, signature, quota, fault, effect, delay. What is found in rooms is called back.
"""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from email.utils import formatdate
from typing import Any

import attrs
import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from volc_moderation.emulator.deliveries import Deliveries
from volc_moderation.emulator.faults import GARBAGE, PAGE, Fault
from volc_moderation.emulator.request import json_object, read
from volc_moderation.emulator.vendor import Call, Reply, Vendor
from volc_moderation.emulator.volcengine import Volcengine
from volc_moderation.emulator.zego import Zego

#: Statuses of answers that have no body.
BODILESS = frozenset({204, 205, 304})

#: Set by the server for the connection that a request came over; without a server there is none to tear down.
connection: ContextVar[asyncio.Transport | None] = ContextVar("connection", default=None)


@attrs.frozen(kw_only=True)
class Settings:
    """How the emulator behaves. The keys are those of the examples in the documents of this package.

    :param session_token: what temporary keys must come with; None accepts any that is signed.
    :param delay: seconds that a request takes there, and an answer back: drawn evenly between the two numbers.
    :param quotas: calls per second of an action, instead of the documented number: ``{"StopWebcast": 10}``. Those in
        ZEGO's test environment are apart: ``{"SendCustomCommand test": 3}``.
    :param callback_secret: what callbacks of both vendors are signed with.
    :param report_every: seconds after which every moderation reports what it finds, again and again; None: on demand.
    """

    access_key: str = "AK"
    secret_key: str = "SK"  # noqa: S105 - an example
    session_token: str | None = None
    region: str = "cn-north-1"
    app_id: int = 1234567890
    server_secret: str = "00112233445566778899aabbccddeeff"  # noqa: S105 - an example
    delay: tuple[float, float] = (0.0, 0.0)
    quotas: Mapping[str, int] = attrs.field(factory=dict)
    callback_secret: str = "callback-secret"  # noqa: S105 - an example
    report_every: float | None = None


class Emulator:
    """Both vendors as one ASGI app.

    Over a socket: ``EmulatorProcess`` or ``serve``, which keep web pages away besides; the app itself answers anybody.
    In process: ``httpx.ASGITransport(app=Emulator())``, with ``aclose()`` at the end if it calls back.

    :param clock: returns the Unix time.
    :param http_client: sends the callbacks, to wherever; without one they go to this machine only.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._clock = clock
        self.volcengine = Volcengine(
            access_key=self.settings.access_key,
            secret_key=self.settings.secret_key,
            session_token=self.settings.session_token,
            region=self.settings.region,
            callback_secret=self.settings.callback_secret,
            quotas=self.settings.quotas,
        )
        self.zego = Zego(
            app_id=self.settings.app_id,
            server_secret=self.settings.server_secret,
            callback_secret=self.settings.callback_secret,
            quotas=self.settings.quotas,
        )
        self._vendors: dict[str, Vendor] = {"volcengine": self.volcengine, "zego": self.zego}
        self._deliveries = Deliveries(http_client)
        self._reporter: asyncio.Task[None] | None = None
        self._faults: list[Fault] = []
        self._letting_go = asyncio.Event()
        self._app = Starlette(
            routes=[
                Route("/", self._serve, methods=["GET", "POST"]),
                Route("/_emulator/counts", self._get_counts, methods=["GET"]),
                Route("/_emulator/faults", self._post_fault, methods=["POST"]),
                Route("/_emulator/reset", self._post_reset, methods=["POST"]),
                Route("/_emulator/callbacks", self._get_callbacks, methods=["GET"]),
                Route("/_emulator/join", self._post_join, methods=["POST"]),
                Route("/_emulator/leave", self._post_leave, methods=["POST"]),
                Route("/_emulator/report", self._post_report, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)

    def play(self, fault: Fault) -> None:
        """Play a fault for the next calls that it matches. Faults are tried in the order in which they came."""
        # A copy, which counts for itself: the same fault may be played again.
        self._faults.append(attrs.evolve(fault))

    def counts(self) -> dict[str, dict[str, int | None]]:
        """Return what was seen of each action, by its name.

        Calls of ZEGO's test environment (``IsTest=true``) have quotas of their own, so they are not among those: they
        are counted under the name and `` test``, as in ``counts()["SendCustomCommand test"]``.
        """
        counts = self.volcengine.counter.counts | self.zego.counter.counts
        return {action: attrs.asdict(count) for action, count in counts.items()}

    def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room and publish; False if a ban or a rule keeps the user out.

        ``options``: ``app_id`` (Volcengine, ``app``), ``stream_id``, ``ip``, and ``verdict``, what moderations find:
        ``PASS``, ``REVIEW`` or ``REJECT``. Raises ``ValueError`` for what is none of these, ``TypeError`` for others.
        """
        return self._vendor(vendor).join(self._clock(), **_texts(room_id=room_id, user_id=user_id, **options))

    def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room."""
        self._vendor(vendor).leave(self._clock(), **_texts(room_id=room_id, user_id=user_id, **options))

    def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user call back, and return how many callbacks are on their way.

        ``options``: ``app_id`` (Volcengine), ``verdict`` (``REJECT``), ``media``: ``audio``, ``video``, None for both.
        Raises ``ValueError`` if the user is not in the room.
        """
        texts = _texts(room_id=room_id, user_id=user_id, **options)
        callbacks = self._vendor(vendor).report(self._clock(), **texts)
        self._deliveries.send(callbacks)
        return len(callbacks)

    def callbacks(self) -> list[dict[str, Any]]:
        """Return the callbacks, with what became of them."""
        return self._deliveries.record()

    async def aclose(self) -> None:
        """Stop reporting and calling back."""
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.gather(self._reporter, return_exceptions=True)
        await self._deliveries.aclose()

    def reset(self) -> None:
        """Forget all tasks, people, faults, nonces, callbacks and counts."""
        self._faults.clear()
        self._deliveries.forget()
        self.volcengine.reset()
        self.zego.reset()

    def _vendor(self, name: str) -> Vendor:
        if not isinstance(name, str) or name not in self._vendors:
            raise ValueError(f"vendor must be one of {', '.join(self._vendors)}")
        return self._vendors[name]

    async def _report_for_ever(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            for vendor in self._vendors.values():
                self._deliveries.send(vendor.report_all(self._clock()))

    def let_go(self) -> None:
        """End all hanging calls, for good: the server stops."""
        self._letting_go.set()

    async def _serve(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response()
        await self._delay()
        call = read(request, body)
        # The vendors listen on hosts of their own; here their signatures tell them apart.
        is_zego = "SignatureNonce" in call.query or "SignatureVersion" in call.query
        vendor: Vendor = self.zego if is_zego else self.volcengine
        answer = await self._answer(vendor, call, request)
        await self._delay()
        return answer

    async def _answer(self, vendor: Vendor, call: Call, request: Request) -> Response:
        now = self._clock()
        counter, name = vendor.counter, vendor.counted_as(call)
        counter.receive(name)
        count = counter.of(name)
        refused = vendor.check(call, now)
        if refused is not None:
            count.rejected += 1
            return self._envelope(refused)
        refusal = counter.admit(name, call.room)
        if refusal is not None:
            count.throttled += 1
            return self._envelope(vendor.throttle(call, for_room=refusal == "room"))
        fault = next((one for one in self._faults if one.strikes(call.action, call.parameters or {})), None)
        if fault is not None:
            self._faults = [one for one in self._faults if not one.is_spent]
            count.faults += 1
            if fault.carried_out:
                self._perform(vendor, call, now)
            answer = await self._play(fault, vendor, call, request)
            if answer.status_code in BODILESS:
                answer = Response(status_code=answer.status_code)
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
            return answer
        reply = self._perform(vendor, call, now)
        if reply.is_success:
            count.accepted += 1
        else:
            count.rejected += 1
        return self._envelope(reply)

    def _perform(self, vendor: Vendor, call: Call, now: float) -> Reply:
        reply = vendor.perform(call, now)
        self._deliveries.send(vendor.take_callbacks())
        if self._reporter is None and self.settings.report_every is not None:
            self._reporter = asyncio.create_task(self._report_for_ever(self.settings.report_every))
        return reply

    async def _play(self, fault: Fault, vendor: Vendor, call: Call, request: Request) -> Response:
        if fault.kind == "code" and fault.code is not None:
            return self._envelope(vendor.fail(call, fault.code, fault.message, fault.status))
        if fault.kind == "status":
            status = fault.status or 502
            return HTMLResponse(PAGE.format(status=status), status)
        if fault.kind == "body":
            return Response(fault.body, fault.status or 200, media_type="application/json")
        if fault.kind == "garbage":
            return Response(GARBAGE, media_type="application/json")
        if fault.kind == "reset":
            transport = connection.get()
            if transport is None:
                raise ConnectionResetError
            transport.abort()
            return Response()
        await self._hang(request)
        return Response()

    async def _hang(self, request: Request) -> None:
        """Say nothing until the client has gone, or the server stops."""
        ends = [asyncio.ensure_future(request.receive()), asyncio.ensure_future(self._letting_go.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _envelope(self, reply: Reply) -> Response:
        return JSONResponse(reply.envelope, reply.status, {"Date": formatdate(self._clock(), usegmt=True)})

    async def _delay(self) -> None:
        low, high = self.settings.delay
        if high > 0:
            await asyncio.sleep(random.uniform(low, high))  # noqa: S311 - jitter

    # Administration

    async def _get_counts(self, _: Request) -> Response:
        return JSONResponse(self.counts())

    async def _post_fault(self, request: Request) -> Response:
        return await self._told(request, self._play_told)

    async def _post_reset(self, _: Request) -> Response:
        self.reset()
        return Response(status_code=204)

    async def _get_callbacks(self, _: Request) -> Response:
        return JSONResponse(self.callbacks())

    async def _post_join(self, request: Request) -> Response:
        return await self._told(request, lambda who: Response(status_code=204 if self.join(**who) else 403))

    async def _post_leave(self, request: Request) -> Response:
        return await self._told(request, self._leave)

    async def _post_report(self, request: Request) -> Response:
        return await self._told(request, lambda what: JSONResponse({"callbacks": self.report(**what)}))

    def _play_told(self, fault: Mapping[str, Any]) -> Response:
        self.play(Fault(**fault))
        return Response(status_code=204)

    def _leave(self, who: Mapping[str, Any]) -> Response:
        self.leave(**who)
        return Response(status_code=204)

    async def _told(self, request: Request, do: Callable[[Mapping[str, Any]], Response]) -> Response:
        """Do what an administrator asks for, or say what is wrong with it."""
        told = json_object(await request.body())
        if told is None:
            return JSONResponse({"error": "the body must be a JSON object"}, 400)
        try:
            return do(told)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)


def _texts(**given: str | None) -> dict[str, str]:
    """Return what is given, and refuse what is not a text that can be sent. None stands for what is left out."""
    texts = {name: value for name, value in given.items() if value is not None}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str")
        value.encode()
    return texts
