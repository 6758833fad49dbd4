"""lm-eval: python with_lm_eval.py URL."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import checks
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

DOCUMENTS = [
    ("The capital of France is", [" Paris", " London"], 0),
    ("Two plus two is", [" seven hundred", " four"], 1),
    ("The sky is", [" blue", " potato"], 0),
]
TASK = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "documents.jsonl"}},
    "test_split": "test",
    "doc_to_text": "{{text}}",
}
CHOICE = {
    **TASK,
    "task": "choice",
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{right}}",
    "metric_list": [{"metric": "acc"}],
}
UNTIL = {
    **TASK,
    "task": "until",
    "output_type": "generate_until",
    "doc_to_target": "{{choices[right]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "temperature": 0},
    "metric_list": [{"metric": "exact_match"}],
}


def evaluate(model: str, path: str, task: dict[str, object], **more: object) -> dict[str, object]:
    lines = [json.dumps({"text": text, "choices": choices, "right": right}) for text, choices, right in DOCUMENTS]
    Path("documents.jsonl").write_text("\n".join(lines))
    where = {"model": checks.MODEL, "base_url": f"{sys.argv[1]}/v1/{path}", "max_retries": 1, **more}
    made = simple_evaluate(model, model_args=where, tasks=[task], task_manager=TaskManager(), **CHAT.get(path, {}))
    return dict(made["results"][task["task"]])


CHAT = {"chat/completions": {"apply_chat_template": True}}


def scores() -> str:
    """Which continuation is likelier, by the log-probabilities of prompts that it cut into tokens itself."""
    found = evaluate("local-completions", "completions", CHOICE, tokenizer_backend="remote")
    assert found["acc,none"] == 1, found
    return f"{found['acc,none']:.0%} of {len(DOCUMENTS)} right"


def chat() -> str:
    found = evaluate("local-chat-completions", "chat/completions", UNTIL, tokenizer_backend=None)
    return f"{found['exact_match,none']:.0%} of {len(DOCUMENTS)} exact"


checks.run({"chat": chat, "scores": scores})
