"""Await events while other coroutines run.

usage, as root: python examples/with_asyncio.py [BATTERY]
"""

import asyncio
import sys

from traceleft import Battery, FilterOptions, Tracer


async def trace(battery: Battery) -> int:
    """Print what a command opens, and return how many files that were."""
    opened = 0
    with Tracer(
        battery, events=["openat"], command=["cat", "/etc/hostname"], filters=FilterOptions(success_only=True)
    ) as tracer:
        async for event in tracer:
            opened += 1
            print(event.comm, "opened", event.args.filename, "as", event.ret)
    return opened


async def main() -> None:
    """Trace, and do something else meanwhile."""
    battery = Battery.open(sys.argv[1] if len(sys.argv) > 1 else "build/battery")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    opened = await trace(battery)
    ticking.cancel()
    print(opened, "files, and the loop went on:", ticks > 0)


asyncio.run(main())
