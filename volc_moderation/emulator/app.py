"""The emulator: both vendors on one port, with delays, faults, counts and callbacks.

A request passes through: delay, count, signature, quota, fault, effect, delay.
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
from volc_moderation.emulator.faults import ERROR_PAGE, GARBAGE, Fault
from volc_moderation.emulator.request import json_object, read_call
from volc_moderation.emulator.vendor import EmulatedVendor, VendorAnswer, VendorRequest
from volc_moderation.emulator.volcengine import Volcengine
from volc_moderation.emulator.zego import Zego

#: The HTTP statuses of answers without a body.
BODILESS_STATUSES = frozenset({204, 205, 304})

#: The connection that a request arrived on, which a fault may reset. Set by the server; None without one.
connection: ContextVar[asyncio.Transport | None] = ContextVar("connection", default=None)


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of an emulator. The default keys are those of the examples in this package's documentation.

    :param session_token: the session token that temporary keys need; None accepts any token that is signed.
    :param delay: the shortest and the longest time in seconds that a request takes to arrive, and its answer to return;
        uniformly distributed.
    :param quotas: calls per second of an action, in place of the documented quota: ``{"StopWebcast": 10}``. ZEGO's test
        environment has quotas of its own: ``{"SendCustomCommand test": 3}``.
    :param callback_secret: signs the callbacks of both vendors.
    :param report_every: the interval in seconds at which every moderation reports each user that it covers; None to
        report on demand only.
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

    To serve it on a socket, use ``EmulatorProcess`` or ``serve``: they also refuse requests of web pages, which the app
    itself answers. To call it in process, use ``httpx.ASGITransport(app=Emulator())``, and call ``aclose()`` at the end
    if it sends callbacks.

    :param clock: returns the Unix time.
    :param http_client: sends the callbacks, to any address. Without one they are sent only to this machine.
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
        self._vendors: dict[str, EmulatedVendor] = {"volcengine": self.volcengine, "zego": self.zego}
        self._deliveries = Deliveries(http_client)
        self._reporter: asyncio.Task[None] | None = None
        self._faults: list[Fault] = []
        self._stopping = asyncio.Event()
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
        """Play a fault for the next calls that it matches. A call gets the first of the faults that match it."""
        # A copy has counts of its own, so the same fault may be played again.
        self._faults.append(attrs.evolve(fault))

    def counts(self) -> dict[str, dict[str, int | None]]:
        """Return the counts of each action, by its name: the fields of ``Count``.

        Calls in ZEGO's test environment (``IsTest=true``) have quotas of their own. They are counted separately, under
        the name with the suffix `` test``, such as ``counts()["SendCustomCommand test"]``.
        """
        counts = self.volcengine.quota_enforcer.counts | self.zego.quota_enforcer.counts
        return {action: attrs.asdict(count) for action, count in counts.items()}

    def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room and publish a stream; False if a ban or a rule keeps the user out.

        :param vendor: ``volcengine`` or ``zego``.
        :param options: ``app_id`` (Volcengine; default ``app``), ``stream_id``, ``ip``, and ``verdict``, the result of
            moderations of the user: ``PASS`` (default), ``REVIEW`` or ``REJECT``.

        Raises ``ValueError`` for a wrong value, ``TypeError`` for a value of the wrong type or an unknown option.
        """
        return self._vendor(vendor).join(self._clock(), **_checked_texts(room_id=room_id, user_id=user_id, **options))

    def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room."""
        self._vendor(vendor).leave(self._clock(), **_checked_texts(room_id=room_id, user_id=user_id, **options))

    def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user send a callback. Return how many are sent.

        :param options: ``app_id`` (Volcengine; default ``app``), ``verdict`` (default ``REJECT``), and ``media``:
            ``audio``, ``video``, or None for both.

        Raises ``ValueError`` for a wrong value or if the user is not in the room, ``TypeError`` as ``join`` does.
        """
        texts = _checked_texts(room_id=room_id, user_id=user_id, **options)
        callbacks = self._vendor(vendor).report(self._clock(), **texts)
        self._deliveries.send(callbacks)
        return len(callbacks)

    def callbacks(self) -> list[dict[str, Any]]:
        """Return all callbacks and their outcomes, the oldest first."""
        return self._deliveries.asdicts()

    async def aclose(self) -> None:
        """Stop reporting, and stop sending callbacks."""
        if self._reporter is not None:
            self._reporter.cancel()
            await asyncio.gather(self._reporter, return_exceptions=True)
        await self._deliveries.aclose()

    def reset(self) -> None:
        """Forget all tasks, users, faults, nonces, callbacks and counts."""
        self._faults.clear()
        self._deliveries.clear()
        self.volcengine.reset()
        self.zego.reset()

    def _vendor(self, name: str) -> EmulatedVendor:
        if not isinstance(name, str) or name not in self._vendors:
            raise ValueError(f"vendor must be one of {', '.join(self._vendors)}")
        return self._vendors[name]

    async def _report_periodically(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            for vendor in self._vendors.values():
                self._deliveries.send(vendor.report_all(self._clock()))

    def release_hanging_calls(self) -> None:
        """End all hanging calls, now and in the future, because the server stops."""
        self._stopping.set()

    async def _serve(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response()
        await self._delay()
        call = read_call(request, body)
        # The vendors have hosts of their own. Here the parameters of the signature show which vendor is called.
        is_zego = "SignatureNonce" in call.query or "SignatureVersion" in call.query
        vendor: EmulatedVendor = self.zego if is_zego else self.volcengine
        response = await self._respond(vendor, call, request)
        await self._delay()
        return response

    async def _respond(self, vendor: EmulatedVendor, call: VendorRequest, request: Request) -> Response:
        now = self._clock()
        enforcer, name = vendor.quota_enforcer, vendor.quota_name(call)
        enforcer.receive(name)
        count = enforcer.count(name)
        refusal = vendor.check(call, now)
        if refusal is not None:
            count.rejected += 1
            return self._json_response(refusal)
        exceeded = enforcer.admit(name, call.room)
        if exceeded is not None:
            count.throttled += 1
            return self._json_response(vendor.throttle(call, for_room=exceeded == "room"))
        fault = next((fault for fault in self._faults if fault.is_triggered(call.action, call.parameters or {})), None)
        if fault is not None:
            self._faults = [fault for fault in self._faults if not fault.is_exhausted]
            count.faults += 1
            if fault.carried_out:
                self._perform(vendor, call, now)
            response = await self._play_fault(fault, vendor, call, request)
            if response.status_code in BODILESS_STATUSES:
                response = Response(status_code=response.status_code)
            if fault.retry_after is not None:
                response.headers["Retry-After"] = str(fault.retry_after)
            return response
        reply = self._perform(vendor, call, now)
        if reply.is_success:
            count.accepted += 1
        else:
            count.rejected += 1
        return self._json_response(reply)

    def _perform(self, vendor: EmulatedVendor, call: VendorRequest, now: float) -> VendorAnswer:
        reply = vendor.perform(call, now)
        self._deliveries.send(vendor.pop_callbacks())
        if self._reporter is None and self.settings.report_every is not None:
            self._reporter = asyncio.create_task(self._report_periodically(self.settings.report_every))
        return reply

    async def _play_fault(
        self, fault: Fault, vendor: EmulatedVendor, call: VendorRequest, request: Request
    ) -> Response:
        if fault.kind == "code" and fault.code is not None:
            return self._json_response(vendor.fail(call, fault.code, fault.message, fault.status))
        if fault.kind == "status":
            status = fault.status or 502
            return HTMLResponse(ERROR_PAGE.format(status=status), status)
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
        """Wait until the client disconnects or the server stops."""
        ends = [asyncio.ensure_future(request.receive()), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _json_response(self, reply: VendorAnswer) -> Response:
        return JSONResponse(reply.envelope, reply.status, {"Date": formatdate(self._clock(), usegmt=True)})

    async def _delay(self) -> None:
        low, high = self.settings.delay
        if high > 0:
            await asyncio.sleep(random.uniform(low, high))  # noqa: S311 - jitter

    # The admin API

    async def _get_counts(self, _: Request) -> Response:
        return JSONResponse(self.counts())

    async def _post_fault(self, request: Request) -> Response:
        return await self._apply(request, self._play_json)

    async def _post_reset(self, _: Request) -> Response:
        self.reset()
        return Response(status_code=204)

    async def _get_callbacks(self, _: Request) -> Response:
        return JSONResponse(self.callbacks())

    async def _post_join(self, request: Request) -> Response:
        return await self._apply(request, lambda user: Response(status_code=204 if self.join(**user) else 403))

    async def _post_leave(self, request: Request) -> Response:
        return await self._apply(request, self._leave_json)

    async def _post_report(self, request: Request) -> Response:
        return await self._apply(request, lambda user: JSONResponse({"callbacks": self.report(**user)}))

    def _play_json(self, fault: Mapping[str, Any]) -> Response:
        self.play(Fault(**fault))
        return Response(status_code=204)

    def _leave_json(self, user: Mapping[str, Any]) -> Response:
        self.leave(**user)
        return Response(status_code=204)

    async def _apply(self, request: Request, operation: Callable[[Mapping[str, Any]], Response]) -> Response:
        """Apply an operation to the JSON of a request. Answer 400 with the error if its arguments are wrong."""
        arguments = json_object(await request.body())
        if arguments is None:
            return JSONResponse({"error": "the body must be a JSON object"}, 400)
        try:
            return operation(arguments)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)


def _checked_texts(**values: str | None) -> dict[str, str]:
    """Return the values that are not None. Refuse those that are not texts or cannot be encoded."""
    texts = {name: value for name, value in values.items() if value is not None}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str")
        value.encode()
    return texts
