"""Which algorithm is used, and what is remembered: the library is a stand-in that needs no GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from rustinfer.backends.cublas import contest, linear, timed
from rustinfer.backends.cublas.choice import TORCH, Choices, choose
from rustinfer.backends.cublas.lt import Algorithm, LtError, Offer, Product
from rustinfer.registry import Target

KEY = "64x32x16 bfloat16 bfloat16"


def algorithm(number: int) -> Algorithm:
    made = Algorithm()
    made.data[0] = number
    return made


class Offered:
    """A product whose algorithm n takes n microseconds, and whose algorithm 7 is refused when it is run."""

    rows, weight, out_dtype, bias = 64, torch.zeros(32, 16, dtype=torch.bfloat16), torch.bfloat16, None
    shares = 1

    def __init__(self, *numbers: int) -> None:
        self.numbers, self.timings = numbers, 0

    def offers(self) -> list[Algorithm]:
        return [algorithm(number) for number in self.numbers]

    def suits(self, kept: Algorithm) -> bool:
        return kept.data[0] in self.numbers

    def run(self, used: Algorithm, *rest: object) -> None:
        if used.data[0] == 7:
            raise LtError
        self.timings += 1
        CLOCK[0] += used.data[0]


CLOCK = [0.0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is what its calls take by a clock of the test's own; each round is a little longer than the last."""

    def recorded(calls: list[Callable[[], object]]) -> float:
        start = CLOCK[0]
        for call in calls:
            call()
        return (CLOCK[0] - start) / len(calls)

    def raced(graphs: dict[int, float], rounds: int) -> dict[int, list[float]]:
        return {key: [took * (1 + 0.004 * n) for n in range(rounds)] for key, took in graphs.items()}

    monkeypatch.setattr(contest, "COLD", 3 * 32 * 16 * 2)
    monkeypatch.setattr(contest, "Record", recorded)
    monkeypatch.setattr(contest, "raced", raced)


def rival(took: float) -> Any:
    def run(x: torch.Tensor, weight: torch.Tensor) -> None:
        CLOCK[0] += took

    return run


def used(made: Offered, took: float, known: Choices) -> int | None:
    """Which algorithm is used where the rival takes so long."""
    product: Any = made
    return number(choose(product, known, lambda: contest.fastest(product, rival(took))))


def number(found: Algorithm | None) -> int | None:
    return None if found is None else found.data[0]


def test_the_fastest_is_used_and_kept(tmp_path: Path) -> None:
    made = Offered(9, 7, 4, 5)
    assert used(made, 6, Choices(tmp_path / "a.json")) == 4
    timings = made.timings
    assert timings
    again = Choices(tmp_path / "a.json")
    assert used(made, 1, again) == 4
    assert made.timings == timings
    assert json.loads((tmp_path / "a.json").read_text()).keys() == {KEY}


@pytest.mark.parametrize(("bytes_", "copies"), [(1 << 20, 3), (1 << 10, 1024), (2, 1024)])
def test_weights_take_turns_until_each_has_left_the_cache_but_not_without_end(
    bytes_: int, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contest, "COLD", 3 << 20)
    weights = contest.cold(torch.zeros(bytes_, dtype=torch.uint8), 0)
    assert len(weights) == len({weight.data_ptr() for weight in weights}) == copies


def test_what_is_done_with_each_product_is_timed_and_told_in_the_key(tmp_path: Path) -> None:
    made, shapes = Offered(4, 5), []
    made.shares = 2

    def behind(out: torch.Tensor) -> None:
        shapes.append(out.shape)
        CLOCK[0] += 3

    known, product = Choices(tmp_path / "a.json"), cast("Any", made)
    for took, word, best in ((6, "norm", None), (8, "other", 4)):
        found = choose(product, known, partial(contest.fastest, product, rival(took), behind), word)
        assert number(found) == best
    assert set(shapes) == {(2, 64, 32)}
    assert json.loads(known.path.read_text()).keys() == {f"{KEY} 2 shares norm", f"{KEY} 2 shares other"}


def test_a_rival_that_fails_is_not_left_out() -> None:
    def fails(x: torch.Tensor, weight: torch.Tensor) -> None:
        raise LtError("refused when it is run")

    with pytest.raises(LtError):
        contest.fastest(cast("Any", Offered(4)), fails)


def test_torch_keeps_what_none_does_better(tmp_path: Path) -> None:
    known = Choices(tmp_path / "a.json")
    assert used(Offered(100), 101, known) is None
    assert known.get(KEY) == TORCH
    assert used(Offered(1), 101, known) is None


@pytest.mark.parametrize(("numbers", "chosen"), [((100, 101, 99), None), ((99, 97), 97), ((96, 95), 96)])
def test_what_others_are_faster_than_by_less_than_the_rounds_differ_stays(
    numbers: tuple[int, ...], chosen: int | None, tmp_path: Path
) -> None:
    made = Offered(*numbers)
    assert used(made, 100, Choices(tmp_path / "a.json")) == chosen


def test_a_choice_that_the_library_no_longer_knows_is_made_again(tmp_path: Path) -> None:
    known = Choices(tmp_path / "a.json")
    known.put(KEY, bytes(algorithm(3)).hex())
    assert used(Offered(5, 6), 9, known) == 5


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_file_that_cannot_be_read_is_written_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    known = Choices(tmp_path / "a.json")
    known.put(KEY, TORCH)
    assert Choices(tmp_path / "a.json").get(KEY) == TORCH


def test_where_nothing_can_be_written_the_choice_is_used_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = Choices(tmp_path / "file" / "a.json")
    known.put(KEY, TORCH)
    assert known.get(KEY) == TORCH


def test_the_library_sees_structures_of_its_own_size() -> None:
    from ctypes import sizeof

    assert (sizeof(Algorithm), sizeof(Offer)) == (64, 96)


class Planned(Offered):
    """As `Product` is made: with rows, a weight, a dtype and a bias. Runs as torch does, and counts."""

    made: list[Planned] = []

    def __init__(self, rows: int, weight: torch.Tensor, out_dtype: torch.dtype, bias: torch.Tensor | None) -> None:
        super().__init__(1)
        self.rows, self.weight, self.out_dtype, self.bias = rows, weight, out_dtype, bias  # type: ignore[assignment]
        self.made.append(self)

    def run(self, used: Algorithm, x: torch.Tensor, out: torch.Tensor, space: torch.Tensor) -> float:
        self.timings += 1
        out.copy_(x @ self.weight.T)
        return 1.0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Planned]:
    Planned.made = []
    monkeypatch.setattr(timed, "Product", Planned)
    monkeypatch.setattr(timed, "choices", lambda: Choices(tmp_path / "a.json"))
    monkeypatch.setattr(timed, "choose", lambda product, *rest: algorithm(1) if product.rows != 256 else None)
    monkeypatch.setattr(timed, "on_gpu", lambda weight: True)
    return Planned


def test_steps_in_graphs_take_the_choice_and_others_are_torchs(library: type[Planned]) -> None:
    weight, plain = torch.randn(8, 16).bfloat16(), []

    def product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        plain.append(len(x))
        return x @ weight.T

    call = timed.timed(Target(torch.device("cpu"), torch.bfloat16), weight, torch.bfloat16, product)
    for rows in (128, 100, 256, 512):
        x = torch.randn(rows, 16).bfloat16()
        assert torch.equal(call(x), x @ weight.T)
    call(torch.randn(128, 32).bfloat16()[:, ::2])  # not as the library was told
    assert plain == [100, 256, 128]
    assert {made.rows: made.timings for made in library.made} == dict.fromkeys(timed.ROWS, 0) | {128: 1, 512: 1}


def unmultiplied(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x


def test_a_wiring_for_decoding_is_timed_at_its_own_rows(library: type[Planned]) -> None:
    target = Target(torch.device("cpu"), torch.bfloat16).decoding(96)
    timed.timed(target, torch.randn(8, 16).bfloat16(), torch.float32, unmultiplied)
    assert [made.rows for made in library.made] == [96]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_for_the_library(dtype: torch.dtype) -> None:
    weight = torch.zeros(8, 16, dtype=dtype)  # not on a GPU
    call = timed.timed(Target(torch.device("cpu"), dtype), weight, dtype, unmultiplied)
    assert call(x := torch.zeros(128, 16, dtype=dtype)) is x


@pytest.mark.parametrize("error", [OSError("none here"), LtError("none here"), torch.OutOfMemoryError("none here")])
def test_where_nothing_can_be_timed_torch_serves(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*args: object) -> Product:
        raise error

    monkeypatch.setattr(timed, "on_gpu", lambda weight: True)
    monkeypatch.setattr(timed, "Product", missing)
    weight = torch.zeros(8, 16, dtype=torch.bfloat16)
    call = timed.timed(Target(torch.device("cpu"), torch.bfloat16), weight, torch.bfloat16, unmultiplied)
    assert call(x := torch.zeros(128, 16, dtype=torch.bfloat16)) is x
    assert "none here" in caplog.text


def test_the_head_is_timed_for_decoding_alone(library: type[Planned], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "mm", lambda x, turned, out_dtype: (x @ turned).to(out_dtype))
    head, hidden = torch.randn(8, 16).bfloat16(), torch.randn(128, 16).bfloat16()
    place = Target(torch.device("cpu"), torch.bfloat16)
    for target, rows in ((place, []), (place.decoding(96), [96])):
        library.made.clear()
        call = linear.lm_head(target, weight=head)
        assert call(hidden, torch.arange(128)).dtype == torch.float32
        assert [made.rows for made in library.made] == rows
