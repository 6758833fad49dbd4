"""An engine without a model: it speaks the protocol and says a known text, byte by byte.

Every byte is a token, so code points come in halves. `python -m tests.server.fake_engine ADDRESS` runs one
that says a hundred tokens of a choice and waits.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass, field

from rustinfer.protocol.messages import (
    Abort,
    Aborted,
    Delta,
    Failed,
    Generate,
    ModelCard,
    OpRow,
    Output,
    Stats,
    TokenLogprob,
)
from rustinfer.protocol.router import EngineChannel, Gone, Peer
from rustinfer.text.tokenizer import byte_characters

TEXT = "Paris is the capital of France.\nIt has cafés, and people say “bonjour” 🙂 there. "
EOS = 256
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TOOL_TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }} <tool_call> <think></think>\n{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments | tojson }}>{% endfor %}"
    "{{ '\\n' }}{% endfor %}"
    "{% if enable_thinking is false %}quiet {% endif %}{% if reasoning_effort %}{{ reasoning_effort }} {% endif %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CONTEXT = 512
VOCAB = 260


def tokenizer_json() -> str:
    """Token id = byte; 256 is the end, 257 to 259 are nothing."""
    vocab = {c: b for b, c in byte_characters().items()} | {"<|end|>": EOS}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [{"id": EOS, "content": "<|end|>", **flags}],
            "normalizer": None,
            "pre_tokenizer": level,
            "post_processor": None,
            "decoder": level,
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        }
    )


def card(**changes: object) -> ModelCard:
    values: dict[str, object] = {
        "id": "acme/bytes",
        "context": CONTEXT,
        "vocab_size": VOCAB,
        "eos_ids": [EOS],
        "tokenizer_json": tokenizer_json(),
        "chat_template": TEMPLATE,
        "special_tokens": {"eos_token": "<|end|>"},
        "dtype": "float32",
        "device": "Acme 9000",
        "page_size": 16,
        "created": 1_700_000_000,
        "root": "/secret/models/bytes",
        "width": 4,
        "ops": [OpRow("model.layers.0.mlp", "linear", "cpu", {"triton": "needs a GPU"})],
    }
    return ModelCard(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Running:
    peer: Peer
    request: Generate
    index: int
    tokens: list[int]
    at: int = 0


def tokens_of(request: Generate, index: int, text: str) -> list[int]:
    """The text from a place that depends on temperature, seed and index alone."""
    params = request.sampling
    if params.temperature == 0:
        return list(text.encode())
    start = random.Random(f"{params.seed}/{index}").randrange(1, 10**6)
    return list(f"{start} {text}".encode())


def logprob(token: int, count: int, index: int = 0) -> TokenLogprob:
    """The sampled token first, then its neighbours, descending; the last is impossible. Later choices are likelier."""
    others = [((token + i) % 256, -0.5 - i if i < count - 1 else float("-inf")) for i in range(count)]
    return -0.5 / (1 + index), others, 1


@dataclass
class FakeEngine:
    """Runs in a thread. `text` is said again and again, or once and then the end where `ends`; None of it is random.

    `hold` is how many tokens a choice says before it waits for ever, or until that is changed.
    """

    address: str
    delay: float = 0.0
    text: str = TEXT
    ends: bool = False
    card: ModelCard = field(default_factory=card)
    refuse: tuple[str, str] | None = None
    fail_after: int | None = None
    hold: int | None = None
    queue: int | None = None
    epoch: int = field(default_factory=lambda: random.getrandbits(62))

    def __post_init__(self) -> None:
        self.running: list[Running] = []
        self.requests: list[Generate] = []
        self.aborted: list[Abort] = []
        self.news: list[Stats] = []
        """What it is to tell all servers next; emptied by that."""
        self.gone = 0
        self.channel: EngineChannel | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> FakeEngine:
        self._thread.start()
        while self.channel is None:
            time.sleep(0.001)
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> FakeEngine:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        channel = EngineChannel(self.address, self.card, epoch=self.epoch, build="test", fingerprint="f" * 32)
        self.channel = channel
        while not self._stop.is_set():
            for received in channel.poll(self._pause()):
                self._take(channel, received.peer, received.message)
            while self.news:
                channel.broadcast(self.news.pop(0))
            self._step(channel)
        channel.close()

    def _pause(self) -> float:
        """Seconds before the next step."""
        if not self.running:
            return 0.02
        return self.delay if self.hold is None else max(self.delay, 0.005)

    def _take(self, channel: EngineChannel, peer: Peer, message: Generate | Abort | Gone) -> None:
        if isinstance(message, Gone):
            self.gone += 1
            self.running = [r for r in self.running if r.peer != peer]
        elif isinstance(message, Abort):
            self.aborted.append(message)
            self.running = [r for r in self.running if not _meant(r, peer, message)]
            channel.send(peer, Aborted(message.ids))
        elif self.queue is not None and len(self.running) + _newcomers(message) > self.queue:
            channel.send(peer, Failed(message.id, "overloaded", f"at most {self.queue} may wait: try again later"))
        elif self.refuse:
            channel.send(peer, Failed(message.id, *self.refuse))
        else:
            self.requests.append(message)
            for index in range(message.sampling.sequences):
                self.running.append(Running(peer, message, index, tokens_of(message, index, self.text)))
            self._score(channel, peer, message)
            self._stats(channel)

    def _score(self, channel: EngineChannel, peer: Peer, request: Generate) -> None:
        """The prompt's log-probabilities, in two parts, as a prompt computed in two chunks has them."""
        count = request.sampling.prompt_logprobs
        if count is not None:
            found = [logprob(t, count) for t in request.prompt_token_ids[1:]]
            for part in (found[: len(found) // 2], found[len(found) // 2 :]):
                channel.send(peer, Delta(self.epoch, [Output(request.id, 0, [], prompt_logprobs=part)]))

    def _step(self, channel: EngineChannel) -> None:
        outputs: dict[Peer, list[Output]] = {}
        for sequence in list(self.running):
            if self.hold is not None and sequence.at >= self.hold:
                continue
            if self.fail_after is not None and sequence.at >= self.fail_after:
                self.running.remove(sequence)
                channel.send(sequence.peer, Failed(sequence.request.id, "numerical_error", "at 0xdeadbeef in /secret"))
                continue
            output = self._advance(sequence)
            outputs.setdefault(sequence.peer, []).append(output)
            if output.finish_reason:
                self.running.remove(sequence)
        for peer, of_peer in outputs.items():
            channel.send(peer, Delta(self.epoch, of_peer))
        if outputs and not self.running:
            self._stats(channel)

    def _advance(self, sequence: Running) -> Output:
        params, request = sequence.request.sampling, sequence.request
        assert params.max_tokens is not None
        if params.max_tokens == 0:
            vector = [float(sum(request.prompt_token_ids)), 3.0, 4.0, 0.0] if request.pool else None
            return Output(request.id, sequence.index, [], finish_reason="length", embedding=vector)
        over = self.ends and sequence.at >= len(sequence.tokens)
        token = EOS if over and not params.ignore_eos else sequence.tokens[sequence.at % len(sequence.tokens)]
        sequence.at += 1
        reason: str | None = "length" if sequence.at >= params.max_tokens else None
        if token == EOS or token in params.stop_token_ids:
            reason = "stop"
        return Output(
            request.id,
            sequence.index,
            [token],
            None if params.logprobs is None else [logprob(token, params.logprobs, sequence.index)],
            reason,  # type: ignore[arg-type]
            token if token in params.stop_token_ids else None,
            len(request.prompt_token_ids),
            4,
        )

    def _stats(self, channel: EngineChannel) -> None:
        channel.broadcast(Stats(self.epoch, running=len(self.running), pages_total=64, pages_used=len(self.running)))


def _newcomers(message: Generate) -> int:
    """As many as the engine looks for room for: the first of several prompts asks for all of them."""
    return message.together or message.sampling.sequences


def _meant(running: Running, peer: Peer, abort: Abort) -> bool:
    same = running.peer == peer and running.request.id in abort.ids
    return same and abort.index in (None, running.index)


if __name__ == "__main__":
    FakeEngine(sys.argv[1], hold=100)._run()
