"""How texts are cut."""

import time
from itertools import pairwise

import pytest

from functions.embed.splitting import MAX_BYTES, OVERLAP_BYTES, split

SENTENCE = "The {} rule says that every request is answered within two working days. "


def sentences(count: int, first: int = 0) -> str:
    return "".join(SENTENCE.format(number) for number in range(first, first + count))


def test_short_sections_share_a_chunk_when_they_fit() -> None:
    text = "# One\n\nFirst.\n\n# Two\n\nSecond."
    assert split(text) == [text]


def test_sections_are_not_mixed_when_together_they_are_too_long() -> None:
    first, second = sentences(15), sentences(15, 100)
    chunks = split(f"# One\n\n{first}\n\n# Two\n\n{second}")
    assert [chunk.splitlines()[0] for chunk in chunks] == ["# One", "# Two"]


def test_chunks_repeat_the_headings_and_the_end_before_when_a_section_is_cut() -> None:
    chunks = split(f"# One\n\n## Two\n\n{sentences(80)}")
    assert len(chunks) > 3
    for chunk in chunks[2:]:
        assert chunk.startswith("# One\n## Two\n\nThe ")
    for before, after in pairwise(chunks[1:]):
        start = after.removeprefix("# One\n## Two\n\n")[:60]
        assert start in before[-OVERLAP_BYTES - 10 :]


def test_every_sentence_is_whole_in_some_chunk() -> None:
    chunks = split(sentences(200))
    for number in range(200):
        assert any(SENTENCE.format(number).strip() in chunk for chunk in chunks)


def test_paragraphs_stay_whole_when_they_fill_half_a_chunk() -> None:
    paragraphs = [sentences(14, 100 * number) for number in range(4)]
    chunks = split("\n\n".join(paragraphs))
    for paragraph, chunk in zip(paragraphs, chunks, strict=True):
        assert chunk.endswith(paragraph.strip())


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "日本語の文章です。" * 30_000,
        "🙂" * 200_000,
        "# h\n" * 200_000,
        "\n" * 1_000_000,
        "a. " * 300_000,
        "!" * 500_000 + "a",
        "a" + " " * 900_000 + "b",
        "#" * 500_000,
    ],
    ids=["word", "japanese", "emoji", "headings", "lines", "dots", "marks", "spaces", "hashes"],
)
def test_chunks_are_bounded_and_found_fast_when_a_text_is_odd(text: str) -> None:
    started = time.process_time()
    chunks = split(text)
    assert time.process_time() - started < 5  # quadratic would be minutes
    assert all(len(chunk.encode()) <= MAX_BYTES for chunk in chunks)
    assert set("".join(chunks)) | {" ", "\n"} >= set(text)
