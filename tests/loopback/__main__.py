"""`python -m tests.loopback [SETTINGS_JSON] [--port N]`: serve until SIGTERM; the first line printed is the address."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys

from ._provider import Provider
from ._settings import Settings


async def _serve(settings: Settings, port: int) -> None:
    provider = Provider(settings)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(provider.connection, "127.0.0.1", port, backlog=2048)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    gc.freeze()
    await stopped.wait()
    server.close()
    provider.close()


def main() -> int:
    """Read the settings and serve."""
    parser = argparse.ArgumentParser(prog="loopback", description=__doc__)
    parser.add_argument("settings", nargs="?", default="{}", help="JSON of the settings that differ from the defaults")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    asyncio.run(_serve(Settings.model_validate_json(asked.settings), asked.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
