"""The application: its routes and what stands before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from . import info, openai, page
from .auth import Auth
from .errors import ApiError, on_api_error, on_http_error
from .link import EngineLink
from .metrics import Metrics
from .options import Options
from .trace import Trace

ROUTES = [
    Route("/v1/chat/completions", openai.chat_completions, methods=["POST"]),
    Route("/v1/completions", openai.text_completions, methods=["POST"]),
    Route("/v1/models", info.models, methods=["GET"]),
    Route("/v1/models/{id:path}", info.model, methods=["GET"]),
    Route("/v1/ops", info.ops, methods=["GET"]),
    Route("/health", info.health, methods=["GET"]),
    Route("/metrics", info.metrics, methods=["GET"]),
    Route("/version", info.version, methods=["GET"]),
    Route("/", page.index, methods=["GET"]),
]


def create(options: Options) -> Starlette:
    """The ASGI application; `state.link` is its hold on the engine, kept while the application's lifespan runs."""
    metrics = Metrics()
    middleware = [Middleware(Trace, metrics=metrics)]
    if options.allow_origins:
        origins = list(options.allow_origins)
        middleware.append(Middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]))
    middleware.append(Middleware(Auth, keys=options.api_keys))
    # Anything else that is raised is answered by Trace.
    handlers = {ApiError: on_api_error, HTTPException: on_http_error}
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=handlers, lifespan=_lifespan)
    app.router.redirect_slashes = False
    app.state.options, app.state.link = options, EngineLink(options.engine, metrics)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(app.state.link.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
