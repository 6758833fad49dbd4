"""Use a model in this process: several prompts together, a conversation, and a stream.

python examples/library.py [MODEL]
"""

from __future__ import annotations

import sys

from rustinfer import LLM, SamplingParams


def main(model: str = "smollm2") -> None:
    """Print what the model makes of a few prompts."""
    greedy = SamplingParams(temperature=0, max_tokens=24)
    with LLM(model) as llm:
        for output in llm.generate(["The capital of France is", "Water boils at"], greedy):
            print(f"{output.prompt!r} -> {output.outputs[0].text!r}")
        [answer] = llm.chat([{"role": "user", "content": "Name the capital of France."}], greedy)
        print(answer.outputs[0].text)
        for delta in llm.stream("Once upon a time", SamplingParams(temperature=0.8, seed=1, max_tokens=24)):
            print(delta.text, end="", flush=True)
        print()


if __name__ == "__main__":
    main(*sys.argv[1:])
