"""Calls the tools of a Model Context Protocol server with the official client.

    mcp_client.py MODE COMMAND ARG..

Starts COMMAND, prints its tools as one JSON object, then reads calls from stdin, one JSON object a line
({"tool", "arguments"}, or {"timeout"} to limit the next call), and prints a JSON object for each.
"""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters


async def answer(client, call):
    try:
        limit = call.get("timeout")
        result = await client.call_tool(call["tool"], call["arguments"], read_timeout_seconds=limit)
    except MCPError as error:
        return {"refused": str(error)}
    texts = [block.text for block in result.content]
    assert len(texts) == 1, texts
    return {"error": bool(result.is_error), "text": texts[0]}


async def main():
    mode, command, *args = sys.argv[1:]
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        about = {
            "version": client.protocol_version,
            "name": client.server_info.name,
            "instructions": client.instructions,
            "tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools],
        }
        print(json.dumps(about), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await answer(client, json.loads(line))), flush=True)


asyncio.run(main())
