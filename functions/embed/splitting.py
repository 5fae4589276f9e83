"""Splits a text into chunks of about 400 tokens, along its structure."""

import re
from collections.abc import Iterator
from itertools import pairwise

MAX_BYTES = 1_600  # about 400 tokens
OVERLAP_BYTES = 200  # what a chunk repeats of the one before it in the same section, at most

_HEADING = re.compile(r"^(#{1,6}) +\S.*$", re.MULTILINE)
# The end of a sentence or a line, with the white space after it.
_END = re.compile(r"[.!?][\"')\]]{0,2}\s+|[。\uff01\uff1f]\s*|\n\s*")


def split(text: str) -> list[str]:
    """The chunks, in order. Where a section is cut, each of its chunks begins with its headings."""
    chunks: list[str] = []
    gathered = ""
    for headings, section in _sections(text):
        if _size(gathered) + _size(section) <= MAX_BYTES:
            gathered += section
            continue
        chunks.append(gathered)
        gathered = section
        if _size(section) > MAX_BYTES:
            *whole, gathered = _cut(headings, section)
            chunks += whole
    return [chunk.strip() for chunk in (*chunks, gathered) if chunk.strip()]


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """(headings above it, text with its own heading) of each section; Markdown's headings."""
    found = list(_HEADING.finditer(text))
    starts = [match.start() for match in found]
    above: list[tuple[int, str]] = []
    yield "", text[: starts[0] if starts else len(text)]
    for match, end in zip(found, [*starts[1:], len(text)], strict=False):
        level = len(match[1])
        above = [(upper, line) for upper, line in above if upper < level]
        above.append((level, match[0].strip()))
        yield "\n".join(line for _, line in above), text[match.start() : end]


def _cut(headings: str, section: str) -> Iterator[str]:
    """Cut at the last paragraph that fits if it fills half a chunk, else at the last sentence."""
    headings = headings if _size(headings) <= OVERLAP_BYTES else ""
    ends = [match.end() for match in _END.finditer(section)]
    slices = pairwise([0, *ends, len(section)])
    units = [part for start, end in slices for part in _short(section[start:end])]
    room = MAX_BYTES - _size(headings)
    start = 0
    while start < len(units):
        end, size, paragraph_end = start, 0, start
        while end < len(units) and (end == start or size + _size(units[end]) <= room):
            size += _size(units[end])
            end += 1
            if units[end - 1].count("\n") > 1 and size > room // 2:
                paragraph_end = end
        if end < len(units) and paragraph_end > start:
            end = paragraph_end
        text = "".join(units[start:end])
        yield text if start == 0 or not headings else f"{headings}\n\n{text}"
        if end == len(units):
            return
        start = _overlapping(units, start, end)


def _overlapping(units: list[str], start: int, end: int) -> int:
    """Where the next chunk starts: a little before the end of this one."""
    size = 0
    for position in range(end - 1, start, -1):
        size += _size(units[position])
        if size > OVERLAP_BYTES:
            return position + 1
    return end


def _short(unit: str) -> Iterator[str]:
    """A unit that fills more than half a chunk, in parts; at spaces where there are any."""
    most = MAX_BYTES // 2
    while len(unit) > most or _size(unit) > most:
        cut = len(unit[:most].encode()[:most].decode(errors="ignore"))
        space = unit.rfind(" ", cut // 2, cut)
        cut = space + 1 if space > 0 else cut
        yield unit[:cut]
        unit = unit[cut:]
    yield unit


def _size(text: str) -> int:
    return len(text.encode())
