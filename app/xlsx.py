"""Workbooks that stream: a sheet is written row by row, and sent while it is written (ECMA-376, Office Open XML)."""

import re
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import escape

from app.sink import Sink

LONGEST_SHEET = 1_048_576  # rows, the headings among them
LONGEST_CELL = 32_767  # characters
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, 2.2
SHEET = "xl/worksheets/sheet{}.xml"
# One style for all, and one for headings.
STYLES = (
    f'{XML}<styleSheet xmlns="{MAIN}"><fonts count="2"><font/><font><b/></font></fonts><fills count="1"><fill/></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf/>'
    '<xf fontId="1" applyFont="1"/></cellXfs></styleSheet>'
)


def pieces(title: str, headings: Iterable[str], batches: Iterable[Iterable[Iterable[Any]]]) -> Iterator[bytes]:
    """The pieces of a workbook. What is too long for one sheet goes on in the next. Texts are never formulas.

    batches: of rows, whose cells are texts, numbers or None.
    """
    sink = Sink()
    first_row = _row(headings, ' s="1"')
    count = 0
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for count, sheet in enumerate(_sheets(batches), start=1):
            with archive.open(SHEET.format(count), "w", force_zip64=True) as file:
                file.write(f'{XML}<worksheet xmlns="{MAIN}"><sheetData>{first_row}'.encode())
                for rows in sheet:
                    file.write("".join(map(_row, rows)).encode())
                    if sink.is_full:
                        yield sink.drain()
                file.write(b"</sheetData></worksheet>")
        _write_frame(archive, title, count)
    yield sink.drain()


def _sheets(batches: Iterable[Iterable[Iterable[Any]]]) -> Iterator[Iterator[list[Iterable[Any]]]]:
    """The batches, shared out to sheets; there is at least one sheet."""
    waiting: list[list[Iterable[Any]]] = []
    source = iter(batches)
    is_over = False

    def one_sheet() -> Iterator[list[Iterable[Any]]]:
        nonlocal is_over
        left = LONGEST_SHEET - 1
        while left:
            batch = waiting.pop() if waiting else list(next(source, ()))
            if not batch:
                is_over = True
                return
            if rest := batch[left:]:
                waiting.append(rest)
            yield batch[:left]
            left -= len(batch[:left])

    while not is_over:
        yield one_sheet()
        # A last sheet that is exactly full must not bring an empty one after it.
        if not waiting and not is_over:
            following = list(next(source, ()))
            if not following:
                return
            waiting.append(following)


def _row(cells: Iterable[Any], style: str = "") -> str:
    return f"<row>{''.join([_cell(cell, style) for cell in cells])}</row>"


def _cell(value: Any, style: str) -> str:
    if value is None or value == "":
        return "<c/>"
    if value.__class__ is int:
        return f"<c><v>{value}</v></c>"
    text = str(value)
    if not text.isalnum():
        text = escape(NO_XML.sub("", text))
    return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{text[:LONGEST_CELL]}</t></is></c>'


def _write_frame(archive: zipfile.ZipFile, title: str, sheets: int) -> None:
    """What makes a workbook of the sheets."""
    numbers = range(1, sheets + 1)
    kinds = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    overrides = [("/xl/workbook.xml", "sheet.main"), ("/xl/styles.xml", "styles")]
    overrides += [(f"/{SHEET.format(number)}", "worksheet") for number in numbers]
    archive.writestr(
        "[Content_Types].xml",
        f'{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        + "".join(f'<Override PartName="{name}" ContentType="{kinds}.{kind}+xml"/>' for name, kind in overrides)
        + "</Types>",
    )
    archive.writestr("_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")]))
    archive.writestr("xl/styles.xml", STYLES)
    named = [escape(title[:25] if number == 1 else f"{title[:25]} {number}", {'"': "&quot;"}) for number in numbers]
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        for number, name in zip(numbers, named, strict=True)
    )
    archive.writestr(
        "xl/workbook.xml",
        f'{XML}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{listed}</sheets></workbook>',
    )
    parts = [("worksheet", f"worksheets/sheet{number}.xml") for number in numbers] + [("styles", "styles.xml")]
    archive.writestr("xl/_rels/workbook.xml.rels", _relations(parts))


def _relations(parts: list[tuple[str, str]]) -> str:
    links = (
        f'<Relationship Id="rId{number}" Type="{RELATIONS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(parts, start=1)
    )
    return f'{XML}<Relationships xmlns="{PACKAGE}/relationships">{"".join(links)}</Relationships>'
