"""Tiny random checkpoints of each family's configuration, saved by transformers, through LLM: every greedy token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rustinfer import LLM, SamplingParams
from rustinfer.models.dummy import byte_tokenizer

transformers = pytest.importorskip("transformers")
VOCAB, PROMPTS, TOKENS = 97, 20, 64
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama-2": {"num_key_value_heads": 4, "rms_norm_eps": 1e-5},
    "TinyLlama": {"num_key_value_heads": 1, "rms_norm_eps": 1e-5},
    "Llama-3": {"num_key_value_heads": 2, "rope_theta": 5e5},
    "Llama-3.1": {"num_key_value_heads": 2, "rope_theta": 5e5, "rope_scaling": {**LLAMA3, "factor": 8.0}},
    "Llama-3.2": {
        "num_key_value_heads": 2,
        "head_dim": 32,
        "rope_theta": 5e5,
        "rope_scaling": {**LLAMA3, "factor": 32.0},
        "tie_word_embeddings": True,
    },
    "SmolLM2": {"num_attention_heads": 3, "num_key_value_heads": 1, "hidden_size": 48, "tie_word_embeddings": True},
    "Mistral": {"num_key_value_heads": 2, "head_dim": 32, "sliding_window": 20},
}


def saved(family: str, folder: Path) -> Any:
    """transformers' model with weights large enough that mistakes show, and its checkpoint in several shards.

    The two largest logits of a row are never nearer than 4e-5 here, where errors are within 2e-5: no tie decides.
    """
    torch.manual_seed(0)
    kind = "Mistral" if family == "Mistral" else "Llama"
    config = getattr(transformers, f"{kind}Config")(**SMALL | FAMILIES[family])
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}ForCausalLM")(config).float().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    (folder / "tokenizer.json").write_text(byte_tokenizer(VOCAB, {}))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_and_log_probabilities_equal_transformers(family: str, tmp_path: Path) -> None:
    theirs = saved(family, tmp_path)
    dice = torch.Generator().manual_seed(1)
    prompts = [torch.randint(0, VOCAB, (3 + 7 * i,), generator=dice).tolist() for i in range(PROMPTS)]
    params = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, logprobs=1)
    with LLM(str(tmp_path), dtype="float32", kv_cache_tokens=8192) as ours, torch.inference_mode():
        results = ours.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        for prompt, result in zip(prompts, results, strict=True):
            output = result.outputs[0]
            logits = theirs(torch.tensor([[*prompt, *output.token_ids]])).logits[0, len(prompt) - 1 : -1]
            assert len(output.token_ids) == TOKENS
            top = logits.topk(2).values
            print("gap", float((top[:, 0] - top[:, 1]).min()))
            assert output.token_ids == logits.argmax(-1).tolist()
            want = logits.log_softmax(-1).gather(1, torch.tensor(output.token_ids)[:, None])[:, 0]
            got = torch.tensor([row[t].logprob for row, t in zip(output.logprobs, output.token_ids, strict=True)])
            print("err", float((got - want).abs().max()))
            assert (got - want).abs().max() < 1e-4
