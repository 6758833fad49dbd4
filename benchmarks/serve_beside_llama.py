"""Streamed output over HTTP at 1, 8 and 16 clients, beside the llama-cpp-python server on the same GGUF and cores.

    python -m benchmarks.serve_beside_llama --llama-python PATH [any flag of `rustinfer bench serve`]

PATH is the Python of an environment with `llama-cpp-python[server]` in it. Both servers are up during the whole run and
take turns; the one that waits uses no CPU. A bias forbids the model's end tokens to both: every answer has its length.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import time
import urllib.request

from rustinfer.cli.main import main as rustinfer
from rustinfer.engine.machine import physical_cores
from rustinfer.models.sources import locate

LEVELS = ("--clients", "1,8,16", "--input-len", "128", "--output-len", "64", "--num-prompts", "32")
NO_END = ("--extra-body", '{"logit_bias": {"0": -100, "2": -100}}')  # of SmolLM2: <|endoftext|>, <|im_end|>


def main() -> int:
    """Run the benchmark; the exit code is that of `rustinfer bench serve`."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--llama-python", required=True, metavar="PATH")
    parser.add_argument("--model", default="smollm2")
    args, flags = parser.parse_known_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = str(physical_cores())
    command = [args.llama_python, "-m", "llama_cpp.server", "--model", str(locate(args.model)), "--port", str(port)]
    command += ["--n_ctx", "2048", "--n_threads", threads, "--n_threads_batch", threads, "--verbose", "false"]
    command += ["--interrupt_requests", "false"]  # its default cuts an answer short when another request arrives
    peer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(f"http://127.0.0.1:{port}/v1/models", peer)
        url = f"llama.cpp=http://127.0.0.1:{port}"
        return rustinfer(["bench", "serve", args.model, "--url", url, *LEVELS, *NO_END, *flags])
    finally:
        peer.terminate()
        peer.wait()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers. Raises SystemExit where it ends before that."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"the llama-cpp-python server did not start (exit code {process.returncode})")


if __name__ == "__main__":
    raise SystemExit(main())
