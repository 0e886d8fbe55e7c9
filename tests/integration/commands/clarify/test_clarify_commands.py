"""The commands of the client against a sandbox: what people see, and what they are told when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from connector.clarify import Client
from connector.commands.clarify.sheets import blocks
from connector.commands.cli import main
from tests.sandbox_server import SandboxServer, sandbox_fixture
from tests.secret_search import SearchedCommands

HOUR = "2026-05-01T06"
DAY = ("--from", "2026-05-01T00:00:00Z", "--to", "2026-05-02T00:00:00Z")


sandbox = sandbox_fixture("module", rate_limiter="off")


def run(sandbox: SandboxServer, *args: str, stdin: str | None = None) -> Result:
    environment = {"CLARIFY_CREDENTIALS": str(sandbox.credentials_path)}
    return SearchedCommands().invoke(main, args, input=stdin, env=environment, catch_exceptions=False)


@pytest.fixture(scope="module")
def plant(sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> SandboxServer:
    """A sandbox with two boilers, one of them published."""
    file = tmp_path_factory.mktemp("plant") / "plant.csv"
    rows = [f"{HOUR}:{n:02d}:00Z,{n * 2},{'' if n % 2 else n / 4}" for n in range(60)]
    file.write_text("time,boiler/1,boiler/2\n" + "\n".join(rows) + "\n")
    assert run(sandbox, "insert", str(file)).exit_code == 0
    published = run(sandbox, "publish", "-f", "input=boiler/1", "--name", "The {input}", "--label", "site=Oslo")
    assert "1 items created, 0 updated, 0 unchanged" in published.stderr
    return sandbox


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# -- looking --------------------------------------------------------------------------------------


def test_signals_and_items(plant: SandboxServer) -> None:
    shown = run(plant, "signals", "-f", "input~^boiler/", "--sort", "-input", "--format", "csv")
    assert [row["input"] for row in table(shown.stdout)] == ["boiler/2", "boiler/1"]
    (item,) = table(run(plant, "items", "-f", "labels.site=Oslo", "--format", "csv").stdout)
    assert (item["name"], item["visible"], item["labels"]) == ("The boiler/1", "yes", "site=Oslo")
    assert table(shown.stdout)[1]["item"] == item["id"]
    one = json.loads(run(plant, "signals", "--query", '{"input": "boiler/2"}', "--format", "json").stdout)
    assert one[0]["attributes"]["engUnit"] == ""
    lines = run(plant, "signals", "-n", "all", "--format", "ndjson").stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == len(plant.signals())
    assert "boiler/1" in run(plant, "signals").stdout
    assert table(run(plant, "items", "-f", "visible=false", "--format", "csv").stdout) == []


def test_publishing_shows_beforehand_what_it_would_do(plant: SandboxServer) -> None:
    tried = run(plant, "publish", "--all", "--dry-run")
    assert "(new)" in tried.stdout
    assert len(table(run(plant, "items", "--format", "csv").stdout)) == 1
    again = run(plant, "publish", "-f", "input=boiler/1", "--create-only")
    assert "0 items created, 0 updated, 1 unchanged" in again.stderr


def test_data_as_a_table_and_for_programs(plant: SandboxServer, tmp_path: Path) -> None:
    rows = table(run(plant, "data-frame", *DAY, "--format", "csv").stdout)
    assert len(rows) == 60
    assert rows[1] == {"time": f"{HOUR}:01:00Z", "The boiler/1": "2.0"}
    rolled_up = run(plant, "data-frame", *DAY, "--rollup", "PT1H").stdout.splitlines()
    assert rolled_up[1].split() == [f"{HOUR}:00:00Z", "60", "0", "118", "3540", "59"]
    file = tmp_path / "out.json"
    run(plant, "data-frame", *DAY, "--last", "1", "--format", "json", "--output", str(file))
    assert json.loads(file.read_text()) == {"times": [f"{HOUR}:59:00Z"], "series": {"The boiler/1": [118]}}
    (item,) = table(run(plant, "items", "--format", "csv").stdout)
    by_id = run(plant, "data-frame", *DAY, "--item", item["id"], "--ids", "--format", "csv").stdout
    assert by_id.startswith(f"time,{item['id']}\n")
    nothing = run(plant, "data-frame", *DAY, "-f", "name=nobody")
    assert "no item matches" in nothing.stderr


def test_plots(plant: SandboxServer, tmp_path: Path) -> None:
    drawn = run(plant, "data-frame", *DAY, "--plot").stdout
    assert "The boiler/1" in drawn
    assert "118 │" in drawn
    assert f"{HOUR.replace('T', ' ')}:00:00Z" in drawn
    assert any("\u2801" <= char <= "\u28ff" for char in drawn)
    picture = tmp_path / "plot.png"
    assert run(plant, "data-frame", *DAY, "--plot", str(picture)).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    rolled_up = run(plant, "data-frame", *DAY, "--rollup", "PT10M", "--plot").stdout
    assert [line for line in rolled_up.splitlines() if "The boiler" in line] == ["The boiler/1 avg"]
    nothing = run(plant, "data-frame", *DAY, "-f", "name=nobody", "--plot", str(tmp_path / "nothing.png"))
    assert nothing.stderr == "no item matches\n"
    assert not (tmp_path / "nothing.png").exists()


def test_progress_of_long_work_is_a_bar_where_somebody_watches(plant: SandboxServer) -> None:
    code = (
        "from connector.commands.cli import main; main(['data-frame', '--from', '-70d', '-n', '5', '--format', 'csv'])"
    )
    out, terminal = os.openpty()
    environment = {**os.environ, "CLARIFY_CREDENTIALS": str(plant.credentials_path), "TERM": "xterm"}
    with os.fdopen(out, "rb") as seen:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=60,
            check=True,
        )
        os.close(terminal)
        shown = seen.read1(65536)
    assert done.stdout.startswith(b"time,")
    assert b"Reading  [####" in shown
    assert b"100%" in shown


# -- inserting ------------------------------------------------------------------------------------


def test_times_in_every_form(sandbox: SandboxServer, tmp_path: Path) -> None:
    file = tmp_path / "times.csv"
    file.write_text("time,form\n1777615200,1\n1777615201000,2\n2026-05-01T08:00:02+02:00,3\n2026-05-01 08:00:03,4\n")
    assert run(sandbox, "insert", str(file), "--time-zone", "Europe/Oslo").exit_code == 0
    assert [time for time, _ in sandbox.samples("form")] == [(1777615200 + n) * 1_000_000 for n in range(4)]


def test_columns_of_a_spreadsheet(sandbox: SandboxServer, tmp_path: Path) -> None:
    file = tmp_path / "sheet.csv"
    file.write_text("time;sheet/a;sheet/b\n1777615200;4,5;-1,5e3\n1777615201;;2\n")
    for options in ([], ["--delimiter", ";", "--decimal-comma"]):
        done = run(sandbox, "insert", str(file), *options)
        assert "inserted: 3 values, signals: 2" in done.stderr
        assert [value for _, value in sandbox.samples("sheet/a") + sandbox.samples("sheet/b")] == [4.5, -1500, 2]
    other = run(sandbox, "insert", str(file), "--decimal-point")
    assert "line 2, column 2 (sheet/a): '4,5' has another decimal sign than what was said: point" in other.stderr
    tabs = run(sandbox, "insert", "-", "--delimiter", "tab", stdin="time\tsheet/c\n1777615200\t7\n")
    assert "inserted: 1 values, signals: 1" in tabs.stderr


def test_one_value_a_line_from_standard_input(sandbox: SandboxServer) -> None:
    done = run(sandbox, "insert", "-", "--long", stdin="time,input,value\n1777615200,long/a,1\n1777615200,long/b,2.5\n")
    assert "inserted: 2 values, signals: 2" in done.stderr
    assert sandbox.samples("long/b") == [(1777615200_000_000, 2.5)]


def test_every_mistake_is_named_and_nothing_is_sent(sandbox: SandboxServer, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("time,bad/a,bad/b\n2026-05-01T06:00:00,1,2\nnope,1,2\n1777615200,x,inf\n1,2\n1777615200,5,\n,1,1\n")
    refused = run(sandbox, "insert", str(file))
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        f"{file}, line 2, column 1: '2026-05-01T06:00:00' has no time zone: add a zone, such as Z, or use --time-zone",
        f"{file}, line 3, column 1: 'nope' is no time such as 2026-05-01T06:00:00Z or 1777615200",
        f"{file}, line 4, column 2 (bad/a): 'x' is no number",
        f"{file}, line 4, column 3 (bad/b): 'inf' is no number",
        f"{file}, line 5: 2 columns, but the heading has 3",
        f"{file}, line 7, column 1: '' is no time such as 2026-05-01T06:00:00Z or 1777615200",
        "Error: 6 mistakes, nothing was sent; correct the file, or use --skip-bad",
    ]
    assert sandbox.samples("bad/a") == []
    done = run(sandbox, "insert", str(file), "--skip-bad")
    assert "inserted: 1 values, signals: 1, mistakes left out: 6" in done.stderr
    assert sandbox.samples("bad/a") == [(1777615200_000_000, 5.0)]


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("", [], "is empty: the first line names the columns"),
        ("time,a b\n", [], "line 1, column 2: 'a b' cannot be an input ID"),
        ("time,a,a\n", [], "line 1: the file needs a column of times, and one for each input ID"),
        ("time,a\n", ["--long"], "with --long the columns are time, input, value"),
        ("time,a\n", ["--time-zone", "Mars"], "'Mars' is no time zone such as Europe/Oslo"),
        ("time,a\n", ["--time-zone", "Europe"], "'Europe' is no time zone such as Europe/Oslo"),
        ("2026-05-01T06:00:00Z,4.1\n", [], "line 1 is data: the first line must name the columns"),
    ],
)
def test_files_that_are_no_tables(
    sandbox: SandboxServer, tmp_path: Path, text: str, more: list[str], said: str
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(text)
    refused = run(sandbox, "insert", str(file), *more)
    assert refused.exit_code in (1, 2)
    assert said in refused.stderr


def test_after_a_failure_it_says_where_to_go_on(
    sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MOST_BYTES", 500_000)
    file = tmp_path / "long.csv"
    file.write_text("time,go/on\n" + "".join(f"{1777615200 + n},{n}\n" for n in range(25_000)))
    forbidden = {"kind": "rpc_error", "code": -32003, "message": "Operation not permitted"}
    sandbox.faults(
        [
            {"method": "insert", "times": 1, "kind": "latency", "seconds": 0},
            {"method": "insert", "times": 1, **forbidden},
        ]
    )
    failed = run(sandbox, "insert", str(file))
    assert failed.exit_code == 1
    assert "Operation not permitted" in failed.stderr
    (line,) = (int(word) for word in failed.stderr.split() if word.isdigit() and word == failed.stderr.split()[-1])
    assert f"all lines up to line {line - 1} are stored; continue with --from-line {line}" in failed.stderr
    assert len(sandbox.samples("go/on")) == line - 2
    assert run(sandbox, "insert", str(file), "--from-line", str(line)).exit_code == 0
    assert len(sandbox.samples("go/on")) == 25_000


def test_memory_does_not_grow_with_the_file(sandbox: SandboxServer, tmp_path: Path) -> None:
    def peak(lines: int) -> float:
        file = tmp_path / f"{lines}.csv"
        file.write_text("time,m/a,m/b\n" + "".join(f"{1777615200 + n},{n},{n / 3}\n" for n in range(lines)))
        program = (
            "import resource, sys; from connector.commands.cli import main\n"
            "from connector.commands.clarify.sheets import blocks; blocks.MOST_BYTES = 1_200_000\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit as end: assert not end.code\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", program, "insert", str(file)]
        environment = {**os.environ, "CLARIFY_CREDENTIALS": str(sandbox.credentials_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=240)
        return int(done.stdout) / 1024

    assert resource.getpagesize() > 0
    assert peak(100_000) < peak(20_000) * 1.25


def test_times_that_are_not_clear(sandbox: SandboxServer, tmp_path: Path) -> None:
    file = tmp_path / "clock.csv"
    file.write_text("time,clock\n2026-10-25T02:30:00,1\n2026-03-29T02:30:00,2\n20260501,3\n")
    refused = run(sandbox, "insert", str(file), "--time-zone", "Europe/Oslo")
    assert refused.exit_code == 1
    assert "exists twice in Europe/Oslo" in refused.stderr
    assert "does not exist in Europe/Oslo" in refused.stderr
    assert "'20260501' can be a date or a number since 1970" in refused.stderr


def test_a_file_that_is_not_utf_8_is_named_with_its_line(sandbox: SandboxServer, tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(b"time,input,value\n1777615200,a,1\n1777615200,\xe5,1\n")
    refused = run(sandbox, "insert", str(file), "--long", "--encoding", "utf-8")
    assert refused.exit_code == 1
    assert "byte 0xe5 is not UTF-8" in refused.stderr
    guessed = run(sandbox, "insert", str(file), "--long")
    assert "is not UTF-8 and was read as cp1252; if letters are wrong, use --encoding" in guessed.stderr
    assert "line 3, column 2: 'å' cannot be an input ID" in guessed.stderr


def test_many_series_at_times_of_their_own_stay_small(sandbox: SandboxServer) -> None:
    lines = "".join(f"{1777615200 + n},own/{n},1\n" for n in range(2000))
    done = run(sandbox, "insert", "-", "--long", stdin="time,input,value\n" + lines)
    assert "inserted: 2,000 values, signals: 2,000" in done.stderr


def test_publishing_again_does_not_show_what_is_hidden(sandbox: SandboxServer) -> None:
    run(sandbox, "insert", "-", stdin="time,hide/a\n1777615200,1\n")
    for more, visible in ((["--hidden"], "no"), ([], "no"), (["--visible"], "yes"), ([], "yes")):
        assert run(sandbox, "publish", "-f", "input=hide/a", "--name", "Hide {name}", *more).exit_code == 0
        (item,) = table(run(sandbox, "items", "-f", "name=Hide hide/a", "--format", "csv").stdout)
        assert item["visible"] == visible
    (signal,) = table(run(sandbox, "signals", "-f", "input=hide/a", "--format", "csv").stdout)
    assert "1 unchanged" in run(sandbox, "publish", "--signal", signal["id"], "--name", "Hide {name}").stderr


def test_headings_are_mapped_to_input_ids(sandbox: SandboxServer, tmp_path: Path) -> None:
    sheet = "Zeit;Druck (bar);Füllstand;Bemerkung\n01.05.2026 06:00;4,1;NaN;neu\n01.05.2026 07:00;4,2;7;\n"
    file = tmp_path / "sheet.csv"
    file.write_bytes(sheet.encode("cp1252"))
    zone = ("--time-zone", "Europe/Oslo")
    names = tmp_path / "names.csv"
    names.write_text("heading;input\nDruck (bar);map/pressure\nFüllstand;map/wrong\nAnderes;map/other\n")
    mapped = ("--map-file", str(names), "--map", "Füllstand=map/level", "--map", "Bemerkung=")
    done = run(sandbox, "insert", str(file), *zone, *mapped, "--na", "NaN")
    assert "inserted: 3 values, signals: 2" in done.stderr
    assert sandbox.samples("map/pressure") == [(1777608000_000_000, 4.1), (1777611600_000_000, 4.2)]
    assert sandbox.samples("map/level") == [(1777611600_000_000, 7)]
    assert sandbox.samples("map/wrong") == []
    unmapped = run(sandbox, "insert", str(file), *zone)
    assert "line 1, column 2: 'Druck (bar)' cannot be an input ID" in unmapped.stderr
    assert "--map 'Druck (bar)=…'" in unmapped.stderr
    other = run(sandbox, "insert", str(file), *zone, *mapped, "--map", "Durck=map/x")
    assert "no column of values is called 'Durck', as --map says; the columns are 'Druck (bar)'" in other.stderr
    names.write_text("name;input\na;b\n")
    assert (
        "names.csv, line 1: the columns must be heading and input"
        in run(sandbox, "insert", str(file), "--map-file", str(names)).stderr
    )
    long = "time,input,value\n1777615200,Druck,1\n"
    assert run(sandbox, "insert", "-", "--long", "--map", "Druck=map/long", stdin=long).exit_code == 0
    assert sandbox.samples("map/long") == [(1777615200_000_000, 1)]


def test_values_that_replace_each_other_are_counted(sandbox: SandboxServer) -> None:
    text = "time,twice/a,twice/b\n1777615200,1,5\n1777615200,2,5\n"
    done = run(sandbox, "insert", "-", stdin=text)
    assert "inserted: 3 values, signals: 2, replaced by a later value for the same time: 1" in done.stderr
    assert sandbox.samples("twice/a") == [(1777615200_000_000, 2)]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("time,a,b\n1777615200,,\n", [], "has no value: nothing was sent"),
        ("time,a\n1777615200,1\n", ["--from-line", "3"], "has no value from line 3 on: nothing was sent"),
        ("time,a\n1777615200,x\n", ["--skip-bad"], "no value is without a mistake, nothing was sent; mistakes: 1"),
        ("time,tag,x\n1777615200,boiler/1,2\n", [], "if each line has one value, use --long"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_inserted_is_no_success(
    sandbox: SandboxServer, tmp_path: Path, text: str, options: list[str], said: str, stream: bool
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(text)
    done = run(sandbox, "insert", "-" if stream else str(file), *options, stdin=text if stream else None)
    assert done.exit_code == 1
    assert said in done.stderr


def test_ctrl_c_says_where_to_go_on(sandbox: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_BYTES", 60_000)
    insert, calls = Client.insert, []

    def interrupted(self: Client, *args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return insert(self, *args, **more)

    monkeypatch.setattr(Client, "insert", interrupted)
    file = tmp_path / "long.csv"
    file.write_text("time,stop\n" + "".join(f"{1777615200 + n},{n}\n" for n in range(3_000)))
    stopped = run(sandbox, "insert", str(file))
    assert stopped.exit_code == 130
    line = int(stopped.stderr.split()[-1])
    assert stopped.stderr.endswith(
        f"interrupted; all lines up to line {line - 1} are stored; continue with --from-line {line}\n"
    )
    assert len(sandbox.samples("stop")) == line - 2
    assert run(sandbox, "insert", str(file), "--from-line", str(line)).exit_code == 0
    assert len(sandbox.samples("stop")) == 3_000


# -- errors ---------------------------------------------------------------------------------------


def test_credentials_are_asked_for(tmp_path: Path) -> None:
    none = SearchedCommands().invoke(main, ["signals"], env={"CLARIFY_CREDENTIALS": None})
    assert none.exit_code == 2
    assert "name the credentials file: --credentials FILE, or CLARIFY_CREDENTIALS" in none.stderr
    missing = SearchedCommands().invoke(main, ["items", "--credentials", str(tmp_path / "none.json")])
    assert missing.exit_code == 1
    assert "cannot be read: No such file" in missing.stderr


def test_credentials_may_be_text_and_are_never_shown(sandbox: SandboxServer) -> None:
    text = sandbox.credentials_path.read_text()
    shown = SearchedCommands().invoke(main, ["signals"], env={"CLARIFY_CREDENTIALS": text})
    assert shown.exit_code == 0, shown.output
    broken = SearchedCommands().invoke(main, ["signals"], env={"CLARIFY_CREDENTIALS": text.replace("}", "", 1)})
    assert broken.exit_code == 1
    assert json.loads(text)["credentials"]["clientSecret"] not in broken.output


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["signals", "-f", "name"], 2, "'name' is not a condition such as name~^Boiler"),
        (["signals", "-f", "colour=red"], 1, "query.filter.colour: unknown field"),
        (["signals", "-f", "a=b", "--query", "{}"], 2, "use --filter or --query, not both"),
        (["signals", "--query", "{"], 2, "--query is not JSON"),
        (["signals", "--query", "[]"], 2, "--query must be an object"),
        (["signals", "--limit", "many"], 2, "--limit must be a number or all"),
        (["publish"], 2, "choose signals with --filter, --query, --signal or --all"),
        (["publish", "--query", "{}"], 2, "choose signals"),
        (["publish", "--signal", "x" * 20], 1, "no signal with this ID matches the filter: xxxx"),
        (["publish", "--all", "--label", "a b=x"], 1, "labels.a b: label key must be"),
        (["publish", "--all", "--name", "{name.x}"], 2, "may have {name} and {input}"),
        (["data-frame", "--output", "no/such/folder.csv"], 1, "no/such/folder.csv: No such file or directory"),
        (["data-frame", "--plot", "day.txt"], 2, "the name must end in .png"),
        (["insert", "-", "--encoding", "klingon"], 2, "'klingon' is no encoding"),
        (["insert", "-", "--date-format", "DD.MM.YYYY"], 2, "--date-format: format: 'DD.MM.YYYY' is none of"),
        (["insert", "-", "--map", "a"], 2, "--map 'a' needs an equals sign"),
        (["insert", "-", "--delimiter", ";;"], 2, "--delimiter must be one character, or tab, not ';;'"),
        (["data-frame", "--from", "20260501"], 2, "can be a date or a number since 1970"),
        (["publish", "--all", "--label", "x"], 2, "'x' is not KEY=VALUE"),
        (["publish", "--all", "--name", "{colour}"], 2, "may have {name} and {input}"),
        (["data-frame", "--from", "yesterday"], 2, "--from: 'yesterday' is no ISO 8601 time"),
        (["data-frame", "--rollup", "5m"], 1, "'5m' is no rollup"),
        (["data-frame", "--time-zone", "Mars"], 2, "'Mars' is no time zone"),
    ],
)
def test_mistakes_are_one_line(plant: SandboxServer, args: list[str], status: int, said: str) -> None:
    failed = run(plant, *args)
    assert failed.exit_code == status
    assert said in failed.stderr
    assert "Traceback" not in failed.output
