"""The same with asyncio."""

import asyncio

from tasktail import aio


async def main():
    async with aio.task("nightly-aio") as task:
        for step in range(1, 4):
            await task.line(f"step {step} of 3")
    print(task.delivery)


asyncio.run(main())
