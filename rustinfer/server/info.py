"""The endpoints that only tell: models, ops, health, metrics, version."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rustinfer.protocol.messages import VERSION, ModelCard
from rustinfer.version import __version__

from .caller import CALLER
from .errors import JSON, engine_unavailable
from .openai import unknown_model
from .served import Served


async def models(request: Request) -> Response:
    served = _served(request)
    names = request.app.state.options.names(served.card)
    return JSON({"object": "list", "data": [_model(name, served.card) for name in names]})


async def model(request: Request) -> Response:
    served, name = _served(request), request.path_params["id"]
    if name not in request.app.state.options.answers_to(served.card):
        raise unknown_model(name)
    return JSON(_model(name, served.card))


async def tokenizer_info(request: Request) -> Response:
    """What a client needs to write prompts and count tokens as this server does, by vLLM's names."""
    card = _served(request).card
    template = card.chat_template if isinstance(card.chat_template, str) else (card.chat_template or {}).get("default")
    special = {name: card.special_tokens.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    return JSON({**special, "chat_template": template, "model_max_length": card.context})


async def ops(request: Request) -> Response:
    """Every binding of the running model: where, which op, which kernel, and why not each other one."""
    served = _served(request)
    running = request.app.state.link.metrics.engine.ops
    rows = [vars(row) for row in running]
    card = served.card
    head = {"model": card.id, "device": card.device, "dtype": card.dtype, "fingerprint": served.fingerprint}
    return JSON({"object": "list", **head, "data": rows})


async def health(request: Request) -> Response:
    """With `verbose`, and a key where there are any, also why plugins of the engine did not load."""
    if not request.app.state.link.healthy:
        raise engine_unavailable()
    told: dict[str, Any] = {"status": "ok"}
    # Without a key nobody hears more than that.
    if "verbose" in request.query_params and (CALLER.get() or not request.app.state.keys):
        told["failed_plugins"] = _served(request).card.failed_plugins
    return JSON(told)


async def livez(_: Request) -> Response:
    """This process answers, whatever the engine does."""
    return JSON({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Whether a request would be run now, and how long ago the engine was heard."""
    link = request.app.state.link
    if not link.ready_now:
        raise engine_unavailable()
    return JSON({"status": "ok", "heartbeat_age_seconds": round(link.heartbeat_age, 3)})


async def metrics(request: Request) -> Response:
    text = request.app.state.link.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def version(request: Request) -> Response:
    link = request.app.state.link
    engine = {"version": link.served.build, "fingerprint": link.served.fingerprint} if link.up else None
    return JSON({"version": __version__, "protocol": VERSION, "engine": engine})


def _served(request: Request) -> Served:
    """The model, even while its engine is away. Raises ApiError 503 before the first engine came."""
    served: Served | None = request.app.state.link.served
    if served is None:
        raise engine_unavailable()
    return served


def _model(name: str, card: ModelCard) -> dict[str, Any]:
    head = {"id": name, "object": "model", "created": card.created, "owned_by": "rustinfer"}
    # The root may be a path of this machine: its last part says enough.
    root = card.root.rstrip("/").rpartition("/")[2]
    return head | {"root": root, "parent": None, "max_model_len": card.context, "permission": []}
