"""The benchmarks' arithmetic, on an LLM that takes a known time; how fast anything is, is not tested."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rustinfer.cli import bench_cpu, bench_gpu, bench_latency, bench_measure, bench_throughput
from rustinfer.cli import main as cli
from rustinfer.cli.bench_cpu import Speed
from rustinfer.errors import UserError
from rustinfer.roofline import Roof

from ..engine.tiny import save

FIRST, EACH = 0.5, 0.25  # seconds, by the clock of these tests


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Fake:
    """An LLM whose first token takes FIRST seconds for 512 tokens of prompt, and each other one EACH."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[tuple[int, int]] = []

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def get_tokenizer(self) -> Namespace:
        return Namespace(vocab_size=1000)

    def stream(self, prompt: dict[str, list[int]], params: Any) -> Iterator[Namespace]:
        assert params.temperature == 0
        assert params.ignore_eos
        self.seen.append((len(prompt["prompt_token_ids"]), params.max_tokens))
        for index in range(params.max_tokens):
            self.clock.now += EACH if index else FIRST * len(prompt["prompt_token_ids"]) / 512
            yield Namespace(token_ids=[1])

    vocab_size = 1000
    phases = {"bind": 1.0}

    def generate(self, prompts: list[dict[str, list[int]]], params: Any, use_tqdm: bool = True) -> list[Namespace]:
        if isinstance(params, list):  # all at once: a step for each token of the longest answer
            tokens = sum(len(p["prompt_token_ids"]) for p in prompts)
            self.clock.now += FIRST * tokens / 512 + EACH * (max(p.max_tokens for p in params) - 1)
            assert not any(p.detokenize for p in params)
            return [Namespace(outputs=[Namespace(token_ids=[1] * p.max_tokens)]) for p in params]
        self.clock.now += len(prompts)
        return [Namespace(outputs=[Namespace(token_ids=[1] * params.max_tokens)]) for _ in prompts]


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Fake:
    clock = Clock()
    fake = Fake(clock)
    monkeypatch.setattr(bench_gpu, "open_llm", lambda model, options: fake)
    monkeypatch.setattr(bench_gpu, "roof_of_this_machine", lambda: Roof(1e12, 1e15))
    for module in (bench_measure, bench_throughput, bench_gpu):
        monkeypatch.setattr(module, "time", clock)
    for user in (bench_latency, bench_throughput, bench_cpu):
        monkeypatch.setattr(user, "open_for_measuring", lambda args: fake)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return fake


def test_one_request_is_timed(llm: Fake) -> None:
    timing = bench_measure.time_one(llm, [1] * 512, 9)  # type: ignore[arg-type]
    assert timing == bench_measure.Timing(FIRST, EACH, 9)
    assert bench_measure.time_one(llm, [1] * 512, 1).each == 0  # type: ignore[arg-type]


def test_prompts_are_the_same_for_the_same_seed_and_leave_special_tokens_out(llm: Fake) -> None:
    ids = bench_measure.prompt(llm, 300)  # type: ignore[arg-type]
    assert ids == bench_measure.prompt(llm, 300)  # type: ignore[arg-type]
    assert ids != bench_measure.prompt(llm, 300, seed=1)  # type: ignore[arg-type]
    assert min(ids) >= 100
    assert max(ids) < 1000


def test_the_prefix_cache_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(bench_measure, "open_llm", lambda model, options: seen.append(options))
    from rustinfer.cli.parser import Parser
    from rustinfer.engine.options import add_arguments

    parser = Parser()
    add_arguments(parser)
    bench_measure.open_for_measuring(parser.parse_args([], Namespace(model="some")))
    assert [options.enable_prefix_caching for options in seen] == [False]


def test_latency(llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "latency", "--input-len", "512", "--output-len", "5", "--num-iters", "3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["first token, ms"] == {"median": 500, "best": 500, "worst": 500}
    assert shown["each further token, ms"]["median"] == 250
    assert shown["whole request, ms"]["median"] == 1500
    assert llm.seen == [(512, 5)] * 4  # one more than measured
    assert cli.main(["bench", "latency", "--num-iters", "1"]) == 0
    assert "250.00" in capsys.readouterr().out


def test_throughput(llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "throughput", "--num-prompts", "4", "--input-len", "6", "--output-len", "2"]
    assert cli.main([*argv, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["seconds"] == 4
    assert shown["requests/s"] == 1
    assert shown["output tokens/s"] == 2
    assert shown["prompt and output tokens/s"] == 8
    assert cli.main(argv) == 0
    assert "requests/s" in capsys.readouterr().out


def test_the_cpu_alone(llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "cpu", "--threads", "3", "--output-len", "5", "--num-iters", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["tokens_per_second"] == {"rustinfer": {"decode": 4, "prefill": 1024}}
    assert (shown["threads"], shown["ratio"]) == (3, None)
    assert cli.main(["bench", "cpu"]) == 0
    assert "llama-cpp-python is not installed here" in capsys.readouterr().out


def test_the_cpu_beside_llama_cpp(
    llm: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(bench_cpu, "peer", lambda args: lambda ids, tokens: Speed(2.0, 512.0))
    assert cli.main(["bench", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ratio"] == {"decode": 2, "prefill": 2}
    assert cli.main(["bench", "cpu"]) == 0
    assert "rustinfer / llama.cpp   2.00" in capsys.readouterr().out


def test_runs_alternate_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def measure(name: str, speeds: list[float]) -> bench_cpu.Measure:
        def run(ids: object, tokens: int) -> Speed:
            order.append(name)
            return Speed(speeds[order.count(name) - 1], 1.0)

        return run

    engines = {"a": measure("a", [99.0, 1.0, 5.0, 3.0]), "b": measure("b", [0.0, 2.0, 2.0, 2.0])}
    speeds = bench_cpu.alternate(engines, [1], 1, 3)
    assert order == ["a", "b"] * 4
    assert (speeds["a"].decode, speeds["b"].decode) == (3.0, 2.0)


def test_llama_cpp_is_driven_as_its_own_benchmark_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from rustinfer.cli import llamacpp

    calls: list[object] = []
    clock = Clock()

    class Llama:
        def __init__(self, **options: Any) -> None:
            calls.append(options)

        def reset(self) -> None:
            calls.append("reset")

        def eval(self, ids: list[int]) -> None:
            calls.append(len(ids))
            clock.now += 0.5 if len(ids) > 1 else EACH

    module = ModuleType("llama_cpp")
    vars(module)["Llama"] = Llama
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", module)
    monkeypatch.setattr(llamacpp, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    peer = llamacpp.LlamaCpp(Path("some.gguf"), 2, 512, 4)
    assert peer.measure([1] * 512, 4) == Speed(4.0, 1024.0)
    options, *rest = calls
    assert isinstance(options, dict)
    assert (options["n_threads"], options["n_threads_batch"], options["n_ubatch"]) == (2, 2, 512)
    assert rest == ["reset", bench_cpu.SHORT, 1, 1, 1, 1, "reset", 512]


def test_llama_cpp_reads_gguf_only(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no \.gguf file"):
        bench_cpu.gguf_file(str(tmp_path))
    file = tmp_path / "some.gguf"
    file.touch()
    assert bench_cpu.gguf_file(str(file)) == file


def test_a_context_that_is_too_short_gives_no_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--threads", "1", "--input-len", "250", "--output-len", "10"]
    for action in ("latency", "throughput"):
        assert cli.main(["bench", action, str(save(tmp_path)), *flags]) == 3
        assert "6 of 10 tokens were made" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--output", "--plot"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    llm: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    for path in (tmp_path, tmp_path / "none" / "it.json"):
        assert cli.main(["bench", "throughput", flag, str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"error: argument {flag}: {path} cannot be written")
    assert llm.clock.now == 0


@pytest.mark.parametrize("flag", ["--output", "--plot"])
def test_a_full_disk_costs_the_file_and_not_what_was_measured(
    llm: Fake, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert cli.main(["bench", "throughput", "--num-prompts", "1", flag, "/dev/full"]) == 1
    told = capsys.readouterr()
    assert told.err == "error: /dev/full could not be written: No space left on device\n"
    assert "output tokens/s" in told.out


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("cpu", "--num-iters=0"), "--num-iters: '0' is not a whole number above 0"),
        (("cpu", "--num-iters=-1"), "--num-iters: '-1' is not a whole number above 0"),
        (("cpu", "--num-iters=x"), "--num-iters: 'x' is not a whole number above 0"),
        (("serve", "--clients=1,1.5"), "--clients: '1.5' is not a whole number above 0"),
        (("serve", "--request-rate=2,nan"), "--request-rate: 'nan' is not a number above 0"),
        (("serve", "--extra-body=[]"), "--extra-body: '[]' is not a JSON object"),
        (("serve", "--extra-body={"), "--extra-body: '{' is not a JSON object"),
        (("gpu", "--only=batch,x"), "--only: 'batch,x' is not some of stream, prefill, batch, offline"),
    ],
)
def test_what_is_wanted_is_named(argv: tuple[str, ...], wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *argv]) == 2
    assert f"argument {wanted} (try" in capsys.readouterr().err


def test_gpu_workloads_count_as_the_other_engines_did(llm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "gpu", "--only", "stream,prefill,batch", "--num-iters", "1", "--json"]) == 0
    rows = {name: value for name, row in json.loads(capsys.readouterr().out)["rows"].items() for value in row.values()}
    assert rows["1 stream, context 128"] == rows["1 stream, context 2048"] == pytest.approx(1 / EACH)
    assert rows["prefill of 512"] == pytest.approx(FIRST * 1e3)
    assert rows["batch of 64, context 512"] == pytest.approx(64 / EACH)
    assert cli.main(["bench", "gpu", "--only", "streams"]) == 2


def test_gpu_results_come_with_shares_of_the_roof_and_plots(llm: Fake, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    assert cli.main(["bench", "gpu", "--only", "batch", "--num-iters", "1", "--output", str(file)]) == 0
    shares = json.loads(file.read_text())["shares of the roof"]
    # Each step takes EACH here, and 2.47 GB and the cache at 1 TB/s are the least.
    assert shares["batch of 8, context 512"] == pytest.approx((2.4716e-3 + 8 * 576 * 32768e-12) / EACH, rel=1e-3)
    assert shares.keys() == {f"batch of {size}, context 512" for size in (8, 32, 64, 128, 256)}
    for plot in ("throughput", "roof"):
        assert "<polyline" in (tmp_path / f"engine.{plot}.svg").read_text()
