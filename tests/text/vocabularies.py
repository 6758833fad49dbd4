"""Small tokenizers for tests, each as the JSON of a tokenizer.json."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "Hello, world! It's 12345 o'clock.",
    "naïve café — 你好、世界 😀👨‍👩‍👧 ñandú",
    "  two  spaces\n\n\tand tabs \r\n",
    "Привет, мир! مرحبا بالعالم",
    "<|im_start|>user\nhi<|im_end|>\n",
    "",
    " ",
    "e\u0301 \ufffd \u200d \U0001f1e9\U0001f1ea",
]


def byte_level() -> str:
    """Byte-level BPE with two special tokens and one added word with a space in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("two words", normalized=False)])
    start = tokenizer.token_to_id("<|im_start|>")
    tokenizer.post_processor = processors.TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", start)])
    return str(tokenizer.to_str())


def sentencepiece() -> str:
    """BPE over characters with byte fallback, as SentencePiece models are converted."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["\u2581Hello", "\u2581world", "\u2581", "H", "e", "l", "o", "w", "r", "d", ",", "!", "\u2581H"]
    vocab = {token: i for i, token in enumerate([*special, *words])}
    table = json.loads(tokenizer.to_str())
    table["model"] |= {"vocab": vocab, "merges": [["\u2581", "H"]]}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    table["added_tokens"] = [{"id": i, "content": token, **plain} for i, token in enumerate(special[:3])]
    return json.dumps(table)
