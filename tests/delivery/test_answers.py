"""Which answers of mail servers say the same."""

import pytest

from app.delivery.answers import answer_of


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("2.0.0 Ok: queued as 4F3A2B1C", "2.0.0 Ok: queued as 4YkJ2z0xWc", "Ok: queued as …"),
        ("5.1.1 <anna@example.test>: unknown", "5.1.1 <b@example.org>: unknown", "unknown"),
        ("No mailbox anna@example.test here", "No mailbox boris@пример.рф here", "No mailbox … here"),
        (
            "mx1.example.test says no, see https://a.test/1",
            "mx.example.org says no, see http://b.test",
            "says no, see …",
        ),
        ("Try again in 300 seconds", "Try again in 5 seconds", "Try again in … seconds"),
        ("5.7.1 blocked\n5.7.1 by 192.0.2.1", "5.7.1 blocked 5.7.1 by 2001:db8::1", "blocked by …"),
    ],
)
def test_answers_that_differ_in_addresses_and_numbers_are_the_same(one: str, other: str, words: str) -> None:
    enhanced = one[:5] if one[1:2] == "." else None
    assert answer_of(550, enhanced, one) == answer_of(550, enhanced, other)
    assert answer_of(550, enhanced, one).words == words


def test_other_words_or_codes_are_another_answer() -> None:
    usual = answer_of(550, "5.1.1", "5.1.1 unknown")
    others = [
        answer_of(550, "5.1.1", "5.1.1 full"),
        answer_of(551, "5.1.1", "5.1.1 unknown"),
        answer_of(None, None, ""),
    ]
    assert usual not in others
    assert len({answer.key for answer in [usual, *others]}) == 4


def test_a_novel_is_cut() -> None:
    assert len(answer_of(550, None, "word " * 200).words) <= 200
