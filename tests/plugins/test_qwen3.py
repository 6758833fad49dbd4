"""The Qwen3 plugin against transformers' own Qwen3, on tiny random checkpoints in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rustinfer.models import Parameters, Step
from rustinfer.models.config import ModelConfig
from rustinfer.models.errors import CheckpointError
from rustinfer.models.sources import open_checkpoint
from rustinfer.registry import Binder, Policy, Target, Weight, load_plugins

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("installed")
PAGE, PAGES, VOCAB, LENGTH = 16, 8, 97, 50
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,  # not hidden_size / num_attention_heads
    "max_position_embeddings": 128,
}
SLIDING = {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "untied": {"tie_word_embeddings": False},
    "tied, long rotary base": {"tie_word_embeddings": True, "rope_theta": 1e6},
    "one key head, biases": {"num_key_value_heads": 1, "attention_bias": True},
    "a window in the later layers": SLIDING,
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
}


def make_theirs(name: str) -> Any:
    """transformers' model with weights large enough that mistakes show."""
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**SMALL | SHAPES[name], architectures=["Qwen3ForCausalLM"])
    config._attn_implementation = "eager"
    model = transformers.Qwen3ForCausalLM(config).float().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.ndim > 1 else 1.0)
    return model


def make_ours(config: ModelConfig, weights: Mapping[str, Weight], policy: Policy | None = None) -> tuple[Any, Binder]:
    """Ours, by way of the plugin's entry point, over a cache full of NaN."""
    registry = load_plugins().registry
    build = registry.models["Qwen3ForCausalLM"]
    binder = Binder(registry, Target(torch.device("cpu"), torch.float32), policy)
    spec = build.cache_spec(config)
    shape = (PAGES, spec.kv_heads, PAGE, spec.head_dim)
    cache = [(torch.full(shape, torch.nan), torch.full(shape, torch.nan)) for _ in range(spec.layers)]
    return build(config, binder, Parameters(weights), cache), binder


def converted(theirs: Any, policy: Policy | None = None, **changes: Any) -> tuple[Any, Binder]:
    """Ours over the weights of theirs."""
    config = ModelConfig.from_dict(theirs.config.to_dict() | changes)
    return make_ours(config, {name: tensor.detach() for name, tensor in theirs.state_dict().items()}, policy)


def run(model: Any, tokens: Tensor, chunks: list[int]) -> Tensor:
    """Logits of every position, computed chunk by chunk over scattered pages."""
    pages = torch.tensor([[5, 2, 7, 0]], dtype=torch.int32)
    out, start = [], 0
    for size in chunks:
        at = torch.arange(start, start + size)
        step = Step(
            tokens=tokens[at],
            positions=at,
            slots=pages[0, at // PAGE].long() * PAGE + at % PAGE,
            query_starts=torch.tensor([0, size], dtype=torch.int32),
            lengths=torch.tensor([start + size], dtype=torch.int32),
            pages=pages,
        )
        out.append(model.logits(whole := model.forward(step), torch.arange(size)))
        last = model.forward(replace(step, last=torch.tensor([size - 1])))
        assert torch.allclose(last, whole[-1:], atol=1e-5)
        start += size
    return torch.cat(out)


def log_probabilities(theirs: Any, tokens: Tensor) -> Tensor:
    result: Tensor = theirs(tokens[None]).logits[0].log_softmax(-1)
    return result


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, VOCAB, (LENGTH,), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("chunks", [[50], [17, 16, 17], [1] * 50], ids=["one go", "chunks", "token by token"])
@pytest.mark.parametrize("name", SHAPES)
def test_log_probabilities_equal_transformers(name: str, chunks: list[int], tokens: Tensor) -> None:
    theirs = make_theirs(name)
    got = run(converted(theirs)[0], tokens, chunks).log_softmax(-1)
    assert (got - log_probabilities(theirs, tokens)).abs().max() < 1e-4


@pytest.mark.parametrize("dropped", ["q_norm", "k_norm"])
def test_the_norms_of_heads_matter(dropped: str, tokens: Tensor) -> None:
    theirs = make_theirs("untied")
    ours = converted(theirs)[0]
    for layer in ours.layers:
        setattr(layer.attention, dropped, lambda x: x)
    got = run(ours, tokens, [LENGTH]).log_softmax(-1)
    assert (got - log_probabilities(theirs, tokens)).abs().max() > 1e-2


@pytest.mark.parametrize("switch", [False, None])
def test_a_window_without_the_switch_is_not_used(switch: bool | None, tokens: Tensor) -> None:
    # Qwen's released configurations name a sliding_window beside use_sliding_window false, which is also its default.
    theirs = make_theirs("untied")
    ours = converted(theirs, use_sliding_window=switch, sliding_window=20)[0]
    assert (run(ours, tokens, [LENGTH]).log_softmax(-1) - log_probabilities(theirs, tokens)).abs().max() < 1e-4


def test_layers_slide_from_max_window_layers_on(tokens: Tensor) -> None:
    theirs = make_theirs("a window in the later layers")
    assert theirs.config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    got = run(converted(theirs, layer_types=None)[0], tokens, [LENGTH]).log_softmax(-1)
    assert (got - log_probabilities(theirs, tokens)).abs().max() < 1e-4


def test_every_site_is_named_and_may_be_pinned(tokens: Tensor) -> None:
    theirs = make_theirs("untied")
    pins = dict.fromkeys(load_plugins().registry.ops, "reference")
    usual, binder = converted(theirs)
    pinned, _ = converted(theirs, Policy(pins=pins))
    ops = {binding.op.name for binding in binder.bindings if binding.site == "model.layers.1.self_attn"}
    assert ops >= {"add_rms_norm", "linear", "rms_norm", "rope", "write_kv", "attention"}
    assert all(binding.site for binding in binder.bindings)
    a, b = (run(model, tokens, [LENGTH]).log_softmax(-1) for model in (usual, pinned))
    assert (a - b).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["untied", "tied, long rotary base", "one key head, biases"])
def test_a_saved_checkpoint_opens_and_agrees(name: str, tokens: Tensor, tmp_path: Path) -> None:
    theirs = make_theirs(name)
    theirs.save_pretrained(tmp_path / "tiny-qwen3")
    checkpoint = open_checkpoint(str(tmp_path / "tiny-qwen3"), dtype=torch.float32)
    assert checkpoint.config.architecture == "Qwen3ForCausalLM"
    assert checkpoint.name == "tiny-qwen3"
    got = run(make_ours(checkpoint.config, checkpoint.weights)[0], tokens, [LENGTH]).log_softmax(-1)
    assert (got - log_probabilities(theirs, tokens)).abs().max() < 1e-4


def test_an_engine_continues_as_transformers_does(tokens: Tensor, tmp_path: Path) -> None:
    from rustinfer import LLM, SamplingParams
    from rustinfer.models.dummy import byte_tokenizer

    theirs = make_theirs("untied")
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(byte_tokenizer(VOCAB, {}))
    prompts = [tokens[:7], tokens[7:40]]
    generate = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    want = [theirs.generate(prompt[None], **generate)[0, len(prompt) :].tolist() for prompt in prompts]
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    model = LLM(str(tmp_path), dtype="float32", kv_cache_tokens=1024)
    results = model.generate([{"prompt_token_ids": prompt.tolist()} for prompt in prompts], params)
    assert [list(result.outputs[0].token_ids) for result in results] == want


@pytest.mark.parametrize("kinds", [["sliding_attention"], "sliding", None])
def test_kinds_of_other_layers_are_refused(kinds: object) -> None:
    with pytest.raises(CheckpointError, match="fit no 3 layers"):
        converted(make_theirs("untied"), use_sliding_window=True, layer_types=kinds, max_window_layers="1")


def test_another_activation_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"hidden_act 'gelu' is not supported, only silu"):
        converted(make_theirs("untied"), hidden_act="gelu")


def test_hook_rustinfer_models_returns_the_architecture() -> None:
    import rustinfer_qwen3

    assert list(rustinfer_qwen3.rustinfer_models()) == ["Qwen3ForCausalLM"]
