from datetime import UTC, datetime, timedelta

from app.inbox.store import Store

LETTER = b"Subject: =?utf-8?b?0J/RgNC40LLQtdGC?=\r\n\r\nHello\r\n"


def test_what_was_saved_is_read_back_byte_for_byte(store: Store) -> None:
    saved = store.save("from@a.test", ["анна@почта.test"], b"\r\n\x00\xff odd bytes")
    assert store.letter(saved.id) == (saved, b"\r\n\x00\xff odd bytes")


def test_a_letter_knows_its_subject_and_when_it_came(store: Store) -> None:
    letter = store.save("a@a.test", ["b@b.test"], LETTER)
    assert letter.subject == "Привет"
    assert abs(datetime.now(UTC) - letter.received_at) < timedelta(seconds=10)


def test_pages_go_from_the_newest_to_the_oldest_without_gap_or_repetition(store: Store) -> None:
    ids = [store.save("a@a.test", ["b@b.test"], LETTER).id for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = store.letters(before=cursor, size=2)
        seen += [letter.id for letter in page]
        if not (cursor := page.next_cursor):
            break
    assert seen == ids[::-1]


def test_search_looks_into_recipients_and_subject_without_case(store: Store) -> None:
    store.save("a@a.test", ["anna@b.test"], LETTER)
    store.save("a@a.test", ["boris@b.test"], b"Subject: other\r\n\r\n")
    assert [letter.recipients for letter in store.letters("ПРИВЕТ")] == [["anna@b.test"]]
    assert [letter.recipients for letter in store.letters("Boris@")] == [["boris@b.test"]]


def test_there_is_nothing_outside_the_folder(store: Store) -> None:
    store.save("a@a.test", ["b@b.test"], LETTER)
    (store.folder.parent / "secret.eml").write_bytes(b"secret")
    for forged in ("../secret", "..", "", "secret", "0" * 20, f"{'0' * 20}-abcdefgh", f"{'0' * 20}-00000000"):
        assert store.letter(forged) is None


def test_a_strange_file_in_the_folder_is_passed_over(store: Store) -> None:
    kept = store.save("a@a.test", ["b@b.test"], LETTER)
    for envelope in (b"", b"no envelope", b"X-Golub-Envelope: []", b'X-Golub-Envelope: {"from": 1}'):
        (store.folder / f"{'1' * 20}-{len(envelope):08x}.eml").write_bytes(envelope)
    (store.folder / "notes.txt").write_text("mine")
    assert [letter.id for letter in store.letters()] == [kept.id]
    assert store.letter(f"{'1' * 20}-{0:08x}") is None


def test_delete_all_leaves_nothing(store: Store) -> None:
    for _ in range(3):
        store.save("a@a.test", ["b@b.test"], LETTER)
    assert store.delete_all() == 3
    assert not store.letters()
    assert store.delete_all() == 0
