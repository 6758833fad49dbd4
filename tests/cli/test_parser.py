"""What is done to the arguments before a verb sees them."""

from __future__ import annotations

import pytest

from rustinfer.cli.parser import Parser, Usage, dashes, examples


def test_only_the_names_of_long_flags_change() -> None:
    given = ["serve", "my_model", "--max_num_seqs", "a_b", "--api_key=x_y", "-a_b", "--", "--kept_here"]
    assert dashes(given) == ["serve", "my_model", "--max-num-seqs", "a_b", "--api-key=x_y", "-a_b", "--", "--kept_here"]


def test_an_error_is_raised_with_the_way_to_help() -> None:
    parser = Parser(prog="rustinfer serve")
    parser.add_argument("--port", type=int)
    with pytest.raises(Usage, match=r"invalid int value: 'x' \(try: rustinfer serve --help\)"):
        parser.parse_args(["--port", "x"])


def test_flags_are_not_abbreviated_in_subcommands_either() -> None:
    parser = Parser(prog="rustinfer ops")
    child = parser.add_subparsers().add_parser("why")
    child.add_argument("--verbose", action="store_true")
    with pytest.raises(Usage, match="there is no flag --verb"):
        parser.parse_args(["why", "--verb"])


def test_a_misspelt_flag_is_answered_with_the_nearest() -> None:
    parser = Parser(prog="rustinfer complete")
    parser.add_argument("text")
    parser.add_argument("--temperature", type=float)
    with pytest.raises(Usage, match=r"^there is no flag --temprature: did you mean --temperature\? \(try: "):
        parser.parse(["--temprature=1", "t"])
    with pytest.raises(Usage, match=r"^there is no flag --zzz \("):
        parser.parse(["t", "--zzz"])


def test_flags_may_stand_between_positional_arguments() -> None:
    parser = Parser(prog="rustinfer complete")
    parser.add_argument("model", nargs="?")
    parser.add_argument("text")
    parser.add_argument("--seed", type=int)
    for argv in (["m", "--seed", "3", "t"], ["--seed", "3", "m", "t"], ["m", "t", "--seed", "3"]):
        args = parser.parse(argv)
        assert (args.model, args.text, args.seed) == ("m", "t", 3)


def test_examples_are_indented() -> None:
    assert examples("a", "b") == "examples:\n  a\n  b"
