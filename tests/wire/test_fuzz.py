"""Whole answers and handshakes, changed at random: a little of what `tools/fuzz.py` does."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pytest
from cases import (
    DEPRECATE_EOF,
    HANDSHAKE,
    KNOWN,
    REPAIRED,
    SHAPED,
    SMALL,
    mutated,
    seeds,
)
from fuzz import Fuzzer, Twin, main
from hypothesis import given
from hypothesis import strategies as st
from replies import REPLIES

CASES = [case for case in seeds() if not case[0] & HANDSHAKE]
HANDSHAKES = [case for case in seeds() if case[0] & HANDSHAKE]


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Fuzzer]:
    with contextlib.closing(Fuzzer()) as fuzzer:
        yield fuzzer


@st.composite
def changed(draw: st.DrawFn, cases: list[bytes]) -> bytes:
    """One of *cases*, of which some bytes have been changed, put in or taken out."""
    data = bytearray(draw(st.sampled_from(cases)))
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(2, len(data)))
        data[position : position + draw(st.integers(0, 3))] = draw(st.binary(max_size=9))
    data[0] ^= draw(st.integers(0, 127))
    return bytes(data)


@pytest.mark.parametrize("flags", [0, SHAPED, KNOWN], ids=["tuples", "rows", "known columns"])
@pytest.mark.parametrize(("name", "deprecated"), REPLIES)
def test_answer_split_anywhere_is_the_same(
    fuzzer: Fuzzer, name: str, deprecated: bool, flags: int
) -> None:
    head = flags | DEPRECATE_EOF * deprecated
    whole = fuzzer.check(bytes((head, 0)) + REPLIES[name, deprecated])

    for cut in range(1, 256):
        assert fuzzer.check(bytes((head, cut)) + REPLIES[name, deprecated]) == whole


@pytest.mark.parametrize(("name", "deprecated"), REPLIES)
def test_answer_cut_anywhere_is_waited_for(fuzzer: Fuzzer, name: str, deprecated: bool) -> None:
    stream = REPLIES[name, deprecated]

    for size in range(len(stream)):
        outcome = fuzzer.check(bytes((DEPRECATE_EOF * deprecated, 0)) + stream[:size])

        assert "pending" in outcome


@given(changed(CASES))
def test_twins_take_a_changed_answer_alike(fuzzer: Fuzzer, case: bytes) -> None:
    fuzzer.check(case)


@given(st.sampled_from([0, REPAIRED, SMALL]), st.binary(max_size=300))
def test_twins_take_any_bytes_alike(fuzzer: Fuzzer, flags: int, data: bytes) -> None:
    fuzzer.check(bytes((flags, 0)) + data)


@given(changed(HANDSHAKES))
def test_changed_handshake_gives_a_documented_error_and_no_password(
    fuzzer: Fuzzer, case: bytes
) -> None:
    fuzzer.check(case)


def test_handshake_that_is_not_changed_connects(fuzzer: Fuzzer) -> None:
    outcomes = [fuzzer.check(case) for case in HANDSHAKES]

    assert ["connected"] in outcomes


def test_mutations_keep_what_tells_the_kinds_of_cases_apart() -> None:
    chance = random.Random(1)

    assert all(mutated(case, chance)[0] & HANDSHAKE for case in HANDSHAKES)
    assert not any(mutated(case, chance)[0] & HANDSHAKE for case in CASES)


def test_random_fuzzing_finds_nothing(capsys: Any) -> None:
    assert main(["--random", "--seconds", "2"]) == 0

    assert "nothing found" in capsys.readouterr().out


def test_difference_between_the_twins_is_found(
    fuzzer: Fuzzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Twin("py")
    monkeypatch.setattr(other, "shape", None)
    monkeypatch.setattr(fuzzer, "twins", [fuzzer.twins[0], other])
    monkeypatch.setattr(fuzzer, "known", fuzzer.known[:1] * 2)

    with pytest.raises(AssertionError, match="the twins differ"):
        fuzzer.check(bytes((SHAPED | DEPRECATE_EOF, 0)) + REPLIES["row", True])
