"""Serve an application as the web process does, on a free port of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from hub import web
from hub.middleware import App


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[int]:
    """Give the port."""
    server = uvicorn.Server(web.config(app=app, loop="none", port=0))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    yield int(server.servers[0].sockets[0].getsockname()[1])
    await server.shutdown()
