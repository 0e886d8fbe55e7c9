"""CSV as spreadsheet programs of many languages write it is stored rightly, or refused with line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import click
import pytest

from connector.clarify.splitting import split
from connector.commands.clarify.sheets import blocks
from connector.commands.clarify.sheets.reader import Layout, Reader

OSLO = ZoneInfo("Europe/Oslo")
NBSP, THIN, MINUS, QUOTE = "\u00a0", "\u202f", "\u2212", "\u2019"
TIMES = [datetime(2026, 5, 1, 6), datetime(2026, 5, 13, 18, 30), datetime(2026, 12, 9, 0, 5)]  # noqa: DTZ001 - local
VALUES: list[list[float | None]] = [[1234.5, -0.25], [1234567.125, 7], [None, -12.75]]
EXPECTED = {
    "a/b": {(time.replace(tzinfo=OSLO), row[0]) for time, row in zip(TIMES, VALUES, strict=True) if row[0] is not None},
    "c": {(time.replace(tzinfo=OSLO), row[1]) for time, row in zip(TIMES, VALUES, strict=True)},
}


def numbers(decimal: str, thousands: str = "", minus: str = "-") -> Callable[[float], str]:
    def written(value: float) -> str:
        return f"{value:,}".translate({ord(","): thousands, ord("."): decimal, ord("-"): minus})

    return written


def day_first(sign: str, clock: str = "%H:%M", between: str = " ") -> Callable[[datetime], str]:
    return lambda time: time.strftime(f"%d{sign}%m{sign}%Y{between}{clock}")


def unpadded(form: str) -> Callable[[datetime], str]:
    def written(time: datetime) -> str:
        hour = time.hour % 12 or 12
        return form.format(t=time, half="AM" if time.hour < 12 else "PM", hour=hour)

    return written


@dataclass(frozen=True)
class Program:
    """How a spreadsheet program writes CSV."""

    delimiter: str
    time: Callable[[datetime], str]
    number: Callable[[float], str]
    encoding: str = "utf-8"
    end: str = "\r\n"
    quoting: Literal[0, 1] = csv.QUOTE_MINIMAL
    first: str = ""
    heading: str = "a/b"
    trailing: int = 0
    """Empty columns at the end of each line."""

    def csv(self, times: list[datetime], values: list[list[float | None]]) -> bytes:
        out = io.StringIO()
        write = csv.writer(out, delimiter=self.delimiter, lineterminator=self.end, quoting=self.quoting).writerow
        more = [""] * self.trailing
        write(["Time", self.heading, "c", *more])
        for time, row in zip(times, values, strict=True):
            write([self.time(time), *("" if value is None else self.number(value) for value in row), *more])
        if self.trailing:
            write(["", "", "", *more])
        return (self.first + out.getvalue()).encode(self.encoding)


PROGRAMS = {
    "Excel, German": Program(";", day_first("."), numbers(","), "utf-8-sig", trailing=2),
    "Excel, German, ANSI, thousands": Program(";", day_first("."), numbers(",", "."), "cp1252", heading="Druck (°C)"),
    "Excel, French, ANSI": Program(";", day_first("/"), numbers(",", NBSP), "cp1252", heading="Température"),
    "Excel, French, new spaces": Program(";", day_first("/"), numbers(",", THIN), "utf-8-sig"),
    "Excel, US": Program(",", unpadded("{t.month}/{t.day}/{t.year} {t.hour}:{t:%M}"), numbers(".", ",")),
    "Excel, US, AM and PM": Program(
        ",", unpadded("{t.month}/{t.day}/{t.year} {hour}:{t:%M:%S}" + THIN + "{half}"), numbers(".")
    ),
    "Excel, British": Program(",", day_first("/"), numbers(".", ",")),
    "Excel, Italian": Program(";", day_first("/"), numbers(",", "."), "cp1252"),
    "Excel, Danish": Program(";", day_first("-", "%H.%M"), numbers(",", ".")),
    "Excel, Finnish": Program(";", unpadded("{t.day}.{t.month}.{t.year} {t.hour}.{t:%M}"), numbers(",", NBSP)),
    "Excel, Hungarian": Program(";", unpadded("{t:%Y}. {t:%m}. {t:%d}. {t.hour}:{t:%M}"), numbers(",", NBSP), "cp1250"),
    "Excel, Japanese, Unicode text": Program(
        "\t", unpadded("{t.year}/{t.month}/{t.day} {t.hour}:{t:%M}"), numbers("."), "utf-16", heading="圧力"
    ),
    "Excel for Mac, old": Program(";", day_first("."), numbers(","), "mac_roman", end="\r"),
    "Excel, sep=": Program("|", day_first("."), numbers(","), first="sep=|\r\n"),
    "LibreOffice, Norwegian": Program(
        ";", day_first(".", "%H:%M:%S"), numbers(",", NBSP, MINUS), end="\n", quoting=csv.QUOTE_ALL
    ),
    "LibreOffice, ISO": Program(",", lambda time: f"{time:%Y-%m-%d %H:%M:%S}", numbers("."), end="\n"),
    "Google Sheets, German": Program(",", day_first(".", "%H:%M:%S"), numbers(",", ".")),
    "Google Sheets, US": Program(",", unpadded("{t.month}/{t.day}/{t.year} {t.hour}:{t:%M:%S}"), numbers(".")),
    "Numbers, Swiss": Program(";", day_first(".", between=", "), numbers(".", QUOTE)),
    "Numbers, British": Program(",", day_first("/", between=", "), numbers(".", ",")),
    "Gnumeric, tabs": Program("\t", lambda time: time.isoformat(timespec="milliseconds"), numbers("."), "utf-16-le"),
}
each_program = pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))


def read(content: bytes, **options: object) -> tuple[dict[str, set[tuple[datetime, float]]], list[str]]:
    """The values of a file by input ID, and its mistakes."""
    layout = Layout(**({"zone": OSLO} | options))  # type: ignore[arg-type]
    learner = Reader("file.csv", io.BytesIO(content), layout)
    learner.learn()
    reader = Reader("file.csv", io.BytesIO(content), layout)
    reader.learn_from(learner)
    found: dict[str, set[tuple[datetime, float]]] = {}
    for block in reader.blocks():
        frame = block.frame()
        for name, column in frame.series.items():
            found.setdefault(name, set()).update(
                (time, value) for time, value in zip(frame.times, column, strict=True) if value is not None
            )
    return found, reader.problems


@each_program
def test_a_sheet_is_stored_rightly_without_an_option(program: Program) -> None:
    found, problems = read(program.csv(TIMES, VALUES), names={program.heading: "a/b"})
    assert problems == []
    assert found == EXPECTED


@each_program
@pytest.mark.parametrize("values", [[1234.0, 5.0], [1.234, 5], [1234, 5], [1234567, 5]], ids=str)
def test_a_sheet_without_any_evidence_is_stored_rightly_or_refused_with_its_place(
    program: Program, values: list[float | None]
) -> None:
    """One line, whose day may be a month, and whose number may have thousands."""
    time = datetime(2026, 5, 4, 6)  # noqa: DTZ001 - local
    found, problems = read(program.csv([time], [values]), names={program.heading: "a/b"})
    for name, value in (("a/b", values[0]), ("c", values[1])):
        assert found.get(name, set()) <= {(time.replace(tzinfo=OSLO), value)}
    stored = sum(map(len, found.values()))
    assert all(" line 2, column " in problem or " line 3, column " in problem for problem in problems)
    assert stored == 2 or problems


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        ("01/05/2026 06:00;4,5", {}, "or with the month: use --date-format '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"),
        ("01/05/2026 06:00;4,5", {"formats": ("%d/%m/%Y %H:%M",)}, None),
        ("13/05/2026;1\n05/13/2026;1", {}, "('13/05/2026' on line 2) or with the month ('05/13/2026' on line 3)"),
        ("01.05.26 06:00;4,5", {}, "a year of two digits: use --date-format '%d.%m.%y %H:%M'"),
        ("01.05.26 06:00;4,5", {"formats": ("%d.%m.%y %H:%M",)}, None),
        ("46143,25;4,5", {}, "may be the serial date of a spreadsheet (2026-05-01 06:00): use --date-format excel"),
        ("46143.25;4.5", {}, "--date-format excel"),
        ("46143,25;4,5", {"formats": ("excel",)}, None),
        ("46143;4,5", {}, "serial date"),
        ("0;4,5", {}, "is no number of seconds after 2001"),
        ("01.05.2026 06:00;4,5", {"zone": None}, "has no time zone: add a zone"),
        ("46143.25;4,5", {"zone": None, "formats": ("excel",)}, "has no time zone: use --time-zone"),
        ("31.02.2026 06:00;4,5", {}, "'31.02.2026 06:00' is no time: day is out of range"),
        ("25.10.2026 02:30;4,5", {}, "exists twice in Europe/Oslo"),
        ("01-May-2026 06:00;4,5", {}, None),
        ("2026-05-01 06:00:00 +0200;4,5", {"zone": None}, None),
        ("01.05.2026 06:00;NaN", {}, "column 2 (a): 'NaN' is no number; if it means that there is no value: --na NaN"),
        ("01.05.2026 06:00;#DIV/0!", {}, "--na '#DIV/0!'"),
        ("01.05.2026 06:00;12 %", {}, "'12 %' is no number"),
        ("01.05.2026 06:00;1.234", {}, "'1.234' may be 1,234 or 1234; use --decimal-comma or --decimal-point"),
        ("01.05.2026 06:00;1,234", {}, "use --decimal-comma or --decimal-point"),
        ("01.05.2026 06:00;4,5\n01.05.2026 07:00;4.5", {}, "line 3, column 2 (a): '4.5' has another decimal sign"),
                ("46143;4,5", {"formats": ("auto",)}, "serial date"),
        ("01.05.2026 06:00;4,5;6", {}, "line 2: 3 columns, but the heading has 2"),
        ('01.05.2026 06:00;"4,5', {}, "line 2: the quotes are wrong"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused_with_a_remedy(lines: str, options: dict[str, object], said: str | None) -> None:
    try:
        found, problems = read(f"Time;a\n{lines}\n".encode(), delimiter=";", **options)
    except click.ClickException as error:
        found, problems = {}, [error.message]
    if said is None:
        assert (problems, found) == ([], {"a": {(TIMES[0].replace(tzinfo=OSLO), 4.5)}})
    else:
        assert said in problems[-1]


def test_a_value_in_a_column_without_a_name_is_a_mistake() -> None:
    found, problems = read(b"Time;a;;b;\n13/05/2026 6:00;1;;2;\n13/05/2026 7:00;1;x;2;\n13/05/2026 8:00;1;;2;;9\n")
    assert problems == [
        "file.csv, line 3, column 3: has a value, but the heading has no name for the column",
        "file.csv, line 4: 6 columns, but the heading has 5",
    ]
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}


def test_thousands_beside_decimals() -> None:
    found, problems = read(b'Time,a\n5/13/2026 6:00,0.5\n5/13/2026 7:00,"1,234"\n')
    assert (problems, sorted(value for _, value in found["a"])) == ([], [0.5, 1234])
    found, problems = read(b"Time;a;text\n13/05/2026 6:00;0,5;4.5\n13/05/2026 7:00;1.234;\n", names={"text": ""})
    assert (problems, sorted(value for _, value in found["a"])) == ([], [0.5, 1234])


@pytest.mark.parametrize(
    ("serial", "second"),
    [("46143.25069", 0), ("46143.2506944444", 0), ("46143.250706018516", 1), ("46143.2507060185", 1)],
)
def test_a_serial_date_is_as_exact_as_its_digits(serial: str, second: int) -> None:
    found, _ = read(f"Time,a\n{serial},1\n".encode(), formats=("excel",))
    assert found == {"a": {(datetime(2026, 5, 1, 6, 1, second, tzinfo=OSLO), 1)}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "is the file of a spreadsheet program, and no text; save the sheet as CSV"),
        ("Time, local;a\n01.05.2026, 06:00;4\n", "line 1: ';' or ',' may separate the columns"),
        ("Time;a b\n2026-05-01;4,5\n", "'a b' cannot be an input ID"),
        ("Time;a b\n2026-05-01;4,5\n", "leave the column out with --map 'a b='"),
        ("Time,Input,Value\n2026-05-01,7,4.5\n", "the columns are those of one value in each line: use --long"),
        ("46143.25;4\n46144;5\n", "line 1 is data"),
        (b"", "is empty"),
        ("Date;Time;a\n01.05.2026;06:00;4,5\n", "line 2: date and time of day are in two columns: join them"),
        ("Time a\n1 2\n", "do not divide the lines into columns"),
    ],
)
def test_files_that_are_no_sheet_are_refused(content: bytes | str, said: str) -> None:
    with pytest.raises(click.ClickException) as refused:
        read(content if isinstance(content, bytes) else content.encode())
    assert said in refused.value.message


# -- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("long", "lines"),
    [
        (False, [f"{1777615200 + n},{n},{n / 3:.4f},{n * 7}" for n in range(8_000)]),
        (False, [f"{1777615200 + n}.5,{n % 9},,{n if n % 5 == 0 else ''}" for n in range(8_000)]),
        (True, [f"{1777615200 + n // 50},s/{n % 50},{n / 10}" for n in range(30_000)]),
        (True, [f"{1777615200 + n},own/{n},1" for n in range(400)]),
    ],
    ids=["wide", "gaps", "long", "times of their own"],
)
def test_a_block_fills_one_request(monkeypatch: pytest.MonkeyPatch, long: bool, lines: list[str]) -> None:
    most = 60_000
    monkeypatch.setattr(blocks, "MOST_BYTES", most * 97 // 100)
    heading = "time,input,value" if long else "time,a,b,c"
    reader = Reader("f", io.BytesIO("\n".join([heading, *lines]).encode()), Layout(long=long))
    reader.learn(100)
    sizes = []
    for block in reader.blocks():
        parts = [len(encoded) for _, encoded in split(block.frame(), most)]
        assert len(parts) == 1
        sizes += parts
    assert len(sizes) > 3
    assert all(size > most * 0.9 for size in sizes[:-1])
