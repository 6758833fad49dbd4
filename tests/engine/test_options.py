"""Flags and options, sizes, and what the machine lends."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from rustinfer.engine.machine import free_memory, physical_cores
from rustinfer.engine.options import Options, add_arguments, pins
from rustinfer.engine.sizing import Size, choose_size
from rustinfer.errors import UserError
from rustinfer.flags import ENGINE, as_flags


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("4096", 4096), ("32k", 32_000), ("1.5k", 1500), ("32K", 32_768), ("1m", 1_000_000), ("1M", 1 << 20)],
)
def test_token_counts_may_be_written_as_people_write_them(text: str, tokens: int) -> None:
    flags = "--max-model-len", "--max-num-batched-tokens", "--kv-cache-tokens"
    options = Options.of(parse(*(f"{flag}={text}" for flag in flags)))
    assert (options.max_model_len, options.max_num_batched_tokens, options.kv_cache_tokens) == (tokens,) * 3


GIVEN = [
    *("--dtype=float32", "--max-model-len=100", "--max-num-seqs=4", "--max-num-batched-tokens=32"),
    *("--max-num-queued-reqs=9", "--kv-cache-tokens=640", "--block-size=8", "--no-enable-prefix-caching"),
    *("--prefer=a,b", "--prefer=c", "--pin=x=y", "--strict", "--load-format=dummy", "--seed=3", "--threads=2"),
    *("--served-model-name=m", "--device=cuda", "--gpu-memory-utilization=0.5", "--enforce-eager"),
    *("--quantization=int8", "--deterministic", '--speculative-config={"method": "ngram"}'),
]


def test_every_flag_becomes_an_option_and_travels() -> None:
    assert {flag.partition("=")[0] for flag in GIVEN} == {flag for flag, _ in ENGINE}
    options = Options.of(parse(*GIVEN))
    assert options == Options(
        dtype="float32",
        max_model_len=100,
        max_num_seqs=4,
        max_num_batched_tokens=32,
        max_num_queued_reqs=9,
        kv_cache_tokens=640,
        block_size=8,
        enable_prefix_caching=False,
        prefer=("a", "b", "c"),
        pins={"x": "y"},
        strict=True,
        load_format="dummy",
        seed=3,
        threads=2,
        device="cuda",
        served_model_name="m",
        gpu_memory_utilization=0.5,
        enforce_eager=True,
        quantization="int8",
        deterministic=True,
        speculative_config='{"method": "ngram"}',
    )
    assert Options.of(parse(*as_flags(parse(*GIVEN), ENGINE))) == options
    assert as_flags(parse(), ENGINE) == []
    assert Options.of(parse()) == Options()


def test_one_back_end_to_prefer_may_stand_by_itself() -> None:
    assert Options(prefer="cpu") == Options(prefer=["cpu"]) == Options(prefer=("cpu",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_num_seqs": 0}, "max_num_seqs must be a positive integer"),
        ({"max_num_seqs": 10**9}, "max_num_seqs must be at most 65536, not 1000000000"),
        ({"max_num_batched_tokens": 10**9}, "max_num_batched_tokens must be at most 1048576"),
        ({"block_size": 10**9}, "block_size must be at most 4096"),
        ({"threads": 10**6}, "threads must be at most 4096"),
        ({"max_num_queued_reqs": 0}, "max_num_queued_reqs must be a positive integer"),
        ({"seed": "x"}, "seed must be an integer, not 'x'"),
        ({"pins": "rms_norm=cpu"}, "pins must map ops to back ends"),
        ({"prefer": 5}, "prefer must name back ends, first to last, not 5"),
        ({"prefer": ["cpu", None]}, "prefer must name back ends"),
        ({"device": "tpu"}, "device 'tpu' is not known"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization must be"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization must be"),
        ({"threads": 1.5}, "threads must be"),
        ({"dtype": "int8"}, "dtype 'int8'"),
        ({"quantization": "int3"}, "quantization 'int3' is not known: use one of int8, fp8"),
        ({"max_num_seqs": 100, "max_num_batched_tokens": 99}, "at least max_num_seqs"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Options(**values)


def test_pins() -> None:
    assert pins(["a=b", "c=d", "a=b"]) == {"a": "b", "c": "d"}
    for wrong in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(UserError, match=r"--pin (a|=)"):
            pins(wrong)


GIB = 1 << 30
CPU, GPU = Options(device="cpu"), Options(device="cuda")


@pytest.mark.parametrize(
    ("options", "context", "size"),
    [
        (CPU, 8192, Size(8192, 24576 // 16)),
        (replace(CPU, max_num_seqs=1), 2048, Size(2048, 128)),
        (replace(CPU, kv_cache_tokens=1000), 8192, Size(1008, 63)),
        (replace(CPU, kv_cache_tokens=1000, max_model_len=1008), 8192, Size(1008, 63)),
        (replace(CPU, max_model_len=100_000), 131072, Size(100_000, 6250)),
        (CPU, 131072, Size(131072, 8192)),
        (GPU, 8192, Size(8192, 8 * GIB // (16 << 10) // 16)),
        (GPU, 1 << 20, Size(8 * GIB // (16 << 10), 8 * GIB // (16 << 10) // 16)),
        (replace(GPU, kv_cache_tokens=1000), 8192, Size(1008, 63)),
    ],
)
def test_sizes(options: Options, context: int, size: Size) -> None:
    assert choose_size(options, context, 16 << 10, 8 * GIB) == size


def test_a_model_with_a_long_context_gets_what_memory_holds() -> None:
    size = choose_size(CPU, 131072, 128 << 10, 8 * GIB)
    assert size.context == size.pages * 16 < 131072
    assert size.pages * 16 * (128 << 10) <= 4 * GIB
    for options in (replace(CPU, max_model_len=100_000), replace(CPU, kv_cache_tokens=100_000)):
        with pytest.raises(UserError, match=r"12500 MiB and 8192 MiB are free.* to 52428 or less"):
            choose_size(options, 131072, 128 << 10, 8 * GIB)


@pytest.mark.parametrize("options", [CPU, GPU])
def test_a_context_that_its_cache_does_not_hold_is_refused(options: Options) -> None:
    asked = replace(options, kv_cache_tokens=1000, max_model_len=1009)
    with pytest.raises(UserError, match="context of 1009 tokens does not fit into a cache of 1008: lower --max-model"):
        choose_size(asked, 8192, 16 << 10, 8 * GIB)


def test_hyper_threads_count_once_and_quotas_bind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(siblings + "\n")
    assert physical_cores(tmp_path, tmp_path) == 2
    assert physical_cores(tmp_path / "none", tmp_path) == 4
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert physical_cores(tmp_path, tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert physical_cores(tmp_path, tmp_path) == 2


def test_free_memory_heeds_the_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    8192 kB\n")
    assert free_memory(meminfo, tmp_path) == 8192 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert free_memory(meminfo, tmp_path) == 3000


def test_what_a_step_holds_depends_on_the_device_and_on_each_other() -> None:
    assert [(o.sequences, o.tokens) for o in (CPU, GPU)] == [(64, 512), (256, 8192)]
    few, many = replace(CPU, max_num_batched_tokens=9), replace(CPU, max_num_seqs=2000)
    assert [(o.sequences, o.tokens) for o in (few, many)] == [(9, 9), (2000, 2000)]
