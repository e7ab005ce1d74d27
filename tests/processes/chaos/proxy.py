"""A TCP proxy that can fall silent: between the product and a server that stays alive."""

from __future__ import annotations

import asyncio
import contextlib
import threading

CHUNK = 1 << 16


class Proxy:
    """Forwards a loopback port to another one; a context manager.

    While it is silent nothing is forwarded and nothing is refused, as when a cable is cut; what
    was sent meanwhile arrives when it speaks again.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._speaks = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def through(self, url: str) -> str:
        """The URL of the server behind it, by way of this proxy."""
        return url.replace(f":{self.target}/", f":{self.port}/")

    def fall_silent(self) -> None:
        self._loop.call_soon_threadsafe(self._speaks.clear)

    def speak(self) -> None:
        self._loop.call_soon_threadsafe(self._speaks.set)

    async def _open(self) -> int:
        self._speaks.set()
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(back):
            await self._speaks.wait()
            far, forth = await asyncio.open_connection("127.0.0.1", self.target)
            with contextlib.closing(forth):
                pumps = {
                    asyncio.ensure_future(self._pump(near, forth)),
                    asyncio.ensure_future(self._pump(far, back)),
                }
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()

    async def _pump(self, source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                await self._speaks.wait()
                drain.write(data)
                await drain.drain()
