"""The application: what stands before its routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from rustinfer.protocol.curve import read_key

from . import workers
from .auth import Auth
from .errors import ApiError, on_api_error, on_http_error
from .gate import Gate
from .hosts import Hosts, allowed
from .keys import Keys
from .limits import Limited, Limits
from .link import EngineLink
from .metrics import Metrics
from .middleware import chosen
from .options import Options
from .origins import Origins
from .responses.store import ResponseStore
from .routes import ROUTES
from .trace import Trace


def create(options: Options) -> Starlette:
    """The ASGI application; `state.link` is its hold on the engine, kept while the application's lifespan runs."""
    metrics = Metrics(options.metrics_compat, lambda card: options.names(card)[0])
    keys = Keys(options.api_key, options.api_key_file)
    limits = Limits(options.requests_per_minute, options.tokens_per_minute)
    middleware = [Middleware(Trace, metrics=metrics, log_requests=options.log_requests)]
    middleware.append(Middleware(Hosts, names=allowed(options.host, options.allow_host)))
    if options.allow_origin:
        middleware.append(Middleware(Origins, origins=options.allow_origin))
    middleware.append(Middleware(Auth, keys=keys))
    middleware.append(Middleware(Limited, limits=limits))
    # Behind the keys: no plugin opens what they close.
    middleware += chosen(options.middleware)
    # Anything else that is raised is answered by Trace.
    handlers = {ApiError: on_api_error, HTTPException: on_http_error}
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=handlers, lifespan=_lifespan)
    app.router.redirect_slashes = False
    app.state.options, app.state.keys, app.state.responses = options, keys, ResponseStore()
    app.state.gate = Gate()
    salted = bool(keys) and not options.share_prefixes
    key = read_key(Path(options.wire_key_file)) if options.wire_key_file else None
    app.state.link = EngineLink(options.engine, metrics, limits, salted=salted, key=key)
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(workers.started())
    task = asyncio.create_task(app.state.link.run())
    yield
    app.state.gate.close()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
