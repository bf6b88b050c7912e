"""A wire that can be cut: what goes through it while it is cut arrives once it is mended, as TCP sends it again."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Wire:
    """A port of this machine whose bytes go to another one and back, in a thread of its own."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._ready.wait()

    def cut(self):
        """Let nothing through, and no new connection: nobody is told."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self):
        """Let everything through again, first of all what was held."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def close(self):
        """End it with all that goes through it."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self):
        self._ended = asyncio.Event()
        self._carried = set()
        server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    async def _carry(self, reader, writer):
        task = asyncio.current_task()
        self._carried.add(task)
        try:
            await self._whole.wait()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._carried.discard(task)
            writer.close()

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
        await self._whole.wait()  # the end of a connection is told by packets too
        writer.close()
