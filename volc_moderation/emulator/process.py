"""The emulator in a process of its own, for asyncio programs."""

import asyncio
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from volc_moderation.emulator.app import Settings
from volc_moderation.emulator.control import AdminRequest, AdminRequests, EmulatorSubprocess
from volc_moderation.emulator.faults import Fault

T = TypeVar("T")


class EmulatorProcess:
    """An emulator in a process of its own: ``async with EmulatorProcess() as emulator``.

    The process ends with the block, and also if this process dies. ``base_url`` is its address.

    :param port: where it listens, on 127.0.0.1; 0 for a free port.

    Entering the block raises ``RuntimeError`` if the process does not start.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0) -> None:
        self.settings = settings or Settings()
        self._port = port
        self.base_url = ""
        self._process: EmulatorSubprocess | None = None
        self._http: httpx.AsyncClient | None = None
        self._admin = AdminRequests()

    async def __aenter__(self) -> Self:
        self._process = process = EmulatorSubprocess(self.settings, port=self._port)
        try:
            self.base_url = await asyncio.to_thread(process.wait_until_ready)
        except BaseException:  # also if the task is cancelled: the process must not outlive it
            process.kill()
            await asyncio.to_thread(process.close)
            raise
        self._http = httpx.AsyncClient(base_url=self.base_url, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
        if self._process is not None:
            await asyncio.to_thread(self._process.close)

    async def play(self, fault: Fault) -> None:
        """Play a fault for the next calls that it matches."""
        await self._send(self._admin.play(fault))

    async def counts(self) -> dict[str, dict[str, Any]]:
        """Return the counts of each action, by its name, as ``Emulator.counts`` does."""
        return await self._send(self._admin.counts())

    async def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room, as ``Emulator.join`` does."""
        return await self._send(self._admin.join(vendor, room_id, user_id, options))

    async def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room, as ``Emulator.leave`` does."""
        await self._send(self._admin.leave(vendor, room_id, user_id, options))

    async def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user send a callback, as ``Emulator.report`` does."""
        return await self._send(self._admin.report(vendor, room_id, user_id, options))

    async def callbacks(self) -> list[dict[str, Any]]:
        """Return all callbacks and their outcomes, the oldest first."""
        return await self._send(self._admin.callbacks())

    async def reset(self) -> None:
        """Forget all tasks, users, faults, nonces, callbacks and counts."""
        await self._send(self._admin.reset())

    async def _send(self, request: AdminRequest[T]) -> T:
        assert self._http is not None  # noqa: S101 - set by __aenter__
        return request.result(await self._http.request(request.method, request.path, json=request.content))
