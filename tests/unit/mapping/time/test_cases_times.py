"""Times as machines send them: messages, the rules that a user writes, and the samples with their exact times."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from connector.config.model import Config
from connector.mapping.mapper import Mapper
from connector.mapping.time.times import parse_time
from connector.records import Mapped, Reason, Record
from connector.runtime.assembly import build_mapper

ARRIVAL = "2026-05-01T06:00:05Z"


@dataclass
class Case:
    name: str
    rules: str
    messages: list[tuple[str, Any]]
    """(topic, payload); the topic may have the key behind a space."""
    samples: list[tuple[str, str, float]]
    arrival: str = ARRIVAL
    headers: tuple[tuple[str, str], ...] = ()


def mapper_of(rules: str) -> Mapper:
    written = yaml.safe_load(rules)
    config = Config.model_validate(
        {
            "clarify": {"credentials": "clarify-credentials.json"},
            "sources": [{"type": "mqtt", "name": "s", "url": "mqtts://broker.example.com", "topics": ["#"]}],
            "mapping": {"rules": written, "unmatched": "dead_letter" if written else "map"},
        }
    )
    return build_mapper(config, {})


def map_all(
    rules: str, messages: list[tuple[str, Any]], arrival: str, headers: tuple[tuple[str, str], ...]
) -> list[Mapped]:
    mapper = mapper_of(rules)
    found = []
    for topic, payload in messages:
        name, _, key = topic.partition(" ")
        written = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        record = Record(name, written, parse_time(arrival), key=key.encode() or None, headers=headers)
        found.append(mapper.map("s", record))
    return found


MAY = "2026-05-01T06:00:00Z"

CASES = [
    Case(
        "c07: one start, a step, an array",
        """
- topic: vib/{m}
  parallel: [acc]
  input: "{m}/{path}"
  time: {field: ts, step: {path: dt_ms, unit: ms}}
""",
        [("vib/m1", {"ts": 1777615200000, "dt_ms": 2, "acc": [0.1, 0.2, -0.3]})],
        [
            ("m1/acc", MAY, 0.1), ("m1/acc", "2026-05-01T06:00:00.002Z", 0.2),
            ("m1/acc", "2026-05-01T06:00:00.004Z", -0.3),
        ],
    ),
    Case(
        "one start, a rate, three axes",
        """
- topic: vib/{m}
  parallel: [x, y]
  input: "{m}/{path}"
  time: {field: start, step: {path: meta.rate, unit: khz}}
""",
        [("vib/m1", {"start": MAY, "meta": {"rate": 25.6}, "x": [1, 2, 3], "y": [4, 5, 6]})],
        [
            ("m1/x", MAY, 1), ("m1/x", "2026-05-01T06:00:00.000039Z", 2), ("m1/x", "2026-05-01T06:00:00.000078Z", 3),
            ("m1/y", MAY, 4), ("m1/y", "2026-05-01T06:00:00.000039Z", 5), ("m1/y", "2026-05-01T06:00:00.000078Z", 6),
        ],
    ),
    Case(
        "the newest of the last hours first, each a quarter before",
        """
- {topic: meter, parallel: [kwh], time: {field: at, step: -15m}, input: kwh}
""",
        [("meter", {"at": MAY, "kwh": [5, 4, 2]})],
        [("kwh", MAY, 5), ("kwh", "2026-05-01T05:45:00Z", 4), ("kwh", "2026-05-01T05:30:00Z", 2)],
    ),
    Case(
        "waveforms of several channels, each with its start",
        """
- topic: scope
  iterate: channels
  parallel: [samples]
  item_name: [n, "@"]
  input: "{item.n}"
  time: {field: t0, step: 1ms}
""",
        [
            (
                "scope",
                {
                    "channels": [
                        {"n": "a", "t0": 1777615200, "samples": [1, 2]},
                        {"n": "b", "t0": 1777615201, "samples": [3]},
                    ]
                },
            )
        ],
        [("a", MAY, 1), ("a", "2026-05-01T06:00:00.001Z", 2), ("b", "2026-05-01T06:00:01Z", 3)],
    ),
    Case(
        "rows of three axes, and a rate",
        """
- topic: vib
  iterate: data
  time: {field: "ts[0]", unit: s, plus: {path: "ts[1]", unit: ns}, step: {path: fs, unit: hz}}
  values: {x: {path: "[0]"}, y: {path: "[1]"}}
  input: "{path}"
""",
        [("vib", {"ts": [1777615200, 4000], "fs": 1000, "data": [[1, 2], [3, 4]]})],
        [
            ("x", "2026-05-01T06:00:00.000004Z", 1), ("y", "2026-05-01T06:00:00.000004Z", 2),
            ("x", "2026-05-01T06:00:00.001004Z", 3), ("y", "2026-05-01T06:00:00.001004Z", 4),
        ],
    ),
    Case(
        "one start, and in each item the time since then",
        """
- {topic: log, iterate: rows, input: "{path}", time: {field: t0, plus: {path: dt, unit: ms}}}
""",
        [("log", {"t0": 1777615200, "rows": [{"dt": 0, "v": 1}, {"dt": 250.5, "v": 2}]})],
        [("v", MAY, 1), ("v", "2026-05-01T06:00:00.2505Z", 2)],
    ),
    Case(
        "seconds and nanoseconds in a list",
        """
- {topic: ros, input: "{path}", time: {field: "ts[0]", plus: {path: "ts[1]", unit: ns}}}
""",
        [("ros", {"ts": [1777615200, 4000], "v": 1})] * 2,
        [("v", "2026-05-01T06:00:00.000004Z", 1)] * 2,
    ),
    Case(
        "a level of the topic for each part of the time",
        """
- topic: meter/{m}/{y}/{mo}/{d}/{h}
  input: "meter/{m}"
  shared_inputs: true
  time: {template: "{y}-{mo}-{d} {h}", format: "%Y-%m-%d %H", zone: Europe/Oslo}
""",
        [("meter/7/2026/5/1/8", "5")],
        [("meter/7", MAY, 5)],
    ),
    Case(
        "c10 and c78: the keys of an object are the times",
        """
- topic: pv/forecast
  iterate: watts
  input: pv/watts
  time: {template: "{item}"}
- topic: pv/prices
  iterate: "@"
  input: pv/prices
  time: {template: "{item}"}
""",
        [
            ("pv/forecast", {"watts": {"2026-05-01T06:00:00Z": 120, "2026-05-01T06:15:00Z": 340}}),
            ("pv/prices", {"1777615200": 0.21, "1777618800": 0.19}),
        ],
        [
            ("pv/watts", MAY, 120), ("pv/watts", "2026-05-01T06:15:00Z", 340),
            ("pv/prices", MAY, 0.21), ("pv/prices", "2026-05-01T07:00:00Z", 0.19),
        ],
    ),
    Case(
        "times as keys below the names of the devices; the time is no part of the name",
        """
- {topic: pv, iterate: ["@", "@"], input: "{item}/{path}", time: {template: "{item}"}}
""",
        [("pv", {"south": {MAY: {"w": 1}}, "west": {MAY: {"w": 2}, "2026-05-01T06:15:00Z": {"w": 3}}})],
        [("south/w", MAY, 1), ("west/w", MAY, 2), ("west/w", "2026-05-01T06:15:00Z", 3)],
    ),
    Case(
        "c11: a level of the topic",
        """
- topic: meter/{m}/{at}/energy
  input: "meter/{m}/energy"
  shared_inputs: true
  time: {template: "{at}"}
""",
        [("meter/77/1777615200/energy", "12.5"), ("meter/77/1777616100/energy", "12.9")],
        [("meter/77/energy", MAY, 12.5), ("meter/77/energy", "2026-05-01T06:15:00Z", 12.9)],
    ),
    Case(
        "the key of the record, with the device before the time",
        """
- {topic: readings, key: "{device}/{at}", input: "{device}/{path}", time: {template: "{at}"}}
""",
        [("readings p7/1777615200000", {"v": 1}), ("readings p8/1777615201000", {"v": 2})],
        [("p7/v", MAY, 1), ("p8/v", "2026-05-01T06:00:01Z", 2)],
    ),
    Case(
        "the whole key, and a header with the nanoseconds",
        """
- {topic: a, input: "{path}", time: {template: "{key}.{header.nanos}"}}
""",
        [("a 1777615200", {"v": 1})],
        [("v", "2026-05-01T06:00:00.25Z", 1)],
        headers=(("nanos", "250000000"),),
    ),
    Case(
        "seconds and nanoseconds in two fields",
        """
- topic: ros
  time: {field: stamp.sec, unit: s, plus: {path: stamp.nanosec, unit: ns}}
  input: "{path}"
""",
        [
            ("ros", {"stamp": {"sec": 1777615200, "nanosec": 5000999}, "v": 1}),
            ("ros", {"stamp": {"sec": 1777615200, "nanosec": 0}, "v": 2}),
        ],
        [("v", "2026-05-01T06:00:00.005Z", 1), ("v", MAY, 2)],
    ),
    Case(
        "seconds and nanoseconds in the items of a list",
        """
- {topic: ros, iterate: points, item_name: n, time: {field: s, plus: {path: ns, unit: ns}}, input: "{item}/{path}"}
""",
        [
            (
                "ros",
                {
                    "points": [
                        {"n": "a", "s": 1777615200, "ns": 1000, "v": 1},
                        {"n": "b", "s": 1777615201, "ns": 2000, "v": 2},
                    ]
                },
            )
        ]
        * 2,
        [("a/v", "2026-05-01T06:00:00.000001Z", 1), ("b/v", "2026-05-01T06:00:01.000002Z", 2)] * 2,
    ),
    Case(
        "c34: the letters of smart meters",
        """
- topic: dsmr/{m}
  input: "{m}/{path}"
  time: {field: timestamp, zone: Europe/Amsterdam}
""",
        [
            ("dsmr/1", {"timestamp": "260501080000S", "kw": 0.343}),
            ("dsmr/1", {"timestamp": "261025023000S", "kw": 1}),
            ("dsmr/1", {"timestamp": "261025023000W", "kw": 2}),
        ],
        [("1/kw", MAY, 0.343), ("1/kw", "2026-10-25T00:30:00Z", 1), ("1/kw", "2026-10-25T01:30:00Z", 2)],
    ),
    Case(
        "the same by a pattern",
        """
- {topic: m, input: "{path}", time: {field: t, format: "%d.%m.%y %H:%M:%S %Z", zone: Europe/Amsterdam}}
""",
        [("m", {"t": "25.10.26 02:30:00 S", "v": 1}), ("m", {"t": "25.10.26 02:30:00 CET", "v": 2})],
        [("v", "2026-10-25T00:30:00Z", 1), ("v", "2026-10-25T01:30:00Z", 2)],
    ),
    Case(
        "the second autumn hour by a field",
        """
- {topic: m, input: "{path}", time: {field: t, zone: "Europe/Oslo {payload.dst}"}}
""",
        [
            ("m", {"t": "2026-10-25T02:30:00", "dst": True, "v": 1}),
            ("m", {"t": "2026-10-25T02:30:00", "dst": False, "v": 2}),
        ],
        [("v", "2026-10-25T00:30:00Z", 1), ("v", "2026-10-25T01:30:00Z", 2)],
    ),
    Case(
        "the second autumn hour by the arrival, for devices that send at once",
        """
- {topic: m, input: "{path}", time: {field: t, zone: Europe/Oslo, repeated_hour: nearest}}
""",
        [("m", {"t": "2026-10-25T02:30:00", "v": 2})],
        [("v", "2026-10-25T01:30:00Z", 2)],
        arrival="2026-10-25T01:30:04Z",
    ),
    Case(
        "c35: .NET and Windows, told apart by themselves",
        """
- topic: n/{d}
  input: "{d}/{path}"
""",
        [
            ("n/1", {"time": "/Date(1777615200000+0200)/", "v": 1}),
            ("n/2", {"time": 134220888000000000, "v": 2}),
            ("n/3", {"time": 639132120000000000, "v": 3}),
        ],
        [("1/v", MAY, 1), ("2/v", MAY, 2), ("3/v", MAY, 3)],
    ),
    Case(
        "numbers of other epochs",
        """
- {topic: n/1, input: "1/{path}", time: {field: at, format: filetime}}
- {topic: n/2, input: "2/{path}", time: {field: at, format: dotnet}}
- {topic: n/3, input: "3/{path}", time: {field: at, format: excel}}
- {topic: n/4, input: "4/{path}", time: {field: at, epoch: 2000-01-01, unit: ns}}
- {topic: n/5, input: "5/{path}", time: {field: at, epoch: 1904-01-01, unit: s}}
- {topic: n/6, input: "6/{path}", time: {field: at, format: gps}}
- {topic: n/7, input: "7/{path}", time: {field: week, format: gps, unit: weeks, plus: {path: tow, unit: ms}}}
- {topic: n/8, input: "8/{path}", time: {field: at, format: excel, zone: Europe/Oslo}}
- {topic: n/9, input: "9/{path}", time: {field: day, epoch: 1984-01-01, unit: days, plus: {path: ms, unit: ms}}}
""",
        [
            ("n/1", {"at": "134220888000000000", "v": 1}),
            ("n/2", {"at": 639132120000000000, "v": 2}),
            ("n/3", {"at": 46143.25, "v": 3}),
            ("n/4", {"at": 830930400000000000, "v": 4}),
            ("n/5", {"at": 3860460000, "v": 5}),
            ("n/6", {"at": 1461650418, "v": 6}),
            ("n/7", {"week": 2416, "tow": 453618000, "v": 7}),
            ("n/8", {"at": "46143.333333333336", "v": 8}),
            ("n/9", {"day": 15461, "ms": 21600000, "v": 9}),
        ],
        [(f"{n}/v", MAY, n) for n in range(1, 10)],
    ),
    Case(
        "c36: zone names, mail, JavaScript, decimal comma",
        """
- topic: z/{d}
  input: "{d}/{path}"
""",
        [
            ("z/1", {"time": "2026-05-01 08:00:00 CEST", "v": 1}),
            ("z/2", {"time": "Fri May 01 2026 08:00:00 GMT+0200 (Central European Summer Time)", "v": 2}),
            ("z/3", {"time": "Fri, 01 May 2026 06:00:00 GMT", "v": 3}),
            ("z/4", {"time": "2026-05-01 06:00:00 UTC", "v": 4}),
            ("z/5", {"time": "2026-05-01T08:00:00,000+02", "v": 5}),
            ("z/6", {"time": "1777615200,5", "v": 6}),
            ("z/7", {"time": "Fri May  1 08:00:00 CEST 2026", "v": 7}),
            ("z/8", {"time": "2026-05-01T08:00:00+02:00[Europe/Oslo]", "v": 8}),
            ("z/9", {"time": "2026-05-01 08:00:00 Europe/Oslo", "v": 9}),
        ],
        [(f"{n}/v", "2026-05-01T06:00:00.5Z" if n == 6 else MAY, n) for n in range(1, 10)],
    ),
    Case(
        "c36 with the formats that its user wrote",
        """
- topic: z/{d}
  input: "{d}/{path}"
  time:
    field: time
    format: ["%Y-%m-%d %H:%M:%S %Z", "%a %b %d %Y %H:%M:%S GMT%z (Central European Summer Time)",
             "%a, %d %b %Y %H:%M:%S %Z", auto]
""",
        [
            ("z/1", {"time": "2026-05-01 08:00:00 CEST", "v": 1}),
            ("z/2", {"time": "Fri May 01 2026 08:00:00 GMT+0200 (Central European Summer Time)", "v": 2}),
            ("z/3", {"time": "Fri, 01 May 2026 06:00:00 GMT", "v": 3}),
            ("z/6", {"time": "1777615200,5", "v": 6}),
        ],
        [("1/v", MAY, 1), ("2/v", MAY, 2), ("3/v", MAY, 3), ("6/v", "2026-05-01T06:00:00.5Z", 6)],
    ),
    Case(
        "c37: date, time and zone in fields of their own",
        """
- topic: g/1
  input: "g1/{path}"
  time: {template: "{payload.date} {payload.time}{payload.tz}"}
- topic: g/2
  input: "g2/{path}"
  time:
    template: "{payload.year}-{payload.month}-{payload.day} {payload.hour}:{payload.min}:{payload.sec}"
    format: "%y-%m-%d %H:%M:%S"
    zone: Europe/Oslo
""",
        [
            ("g/1", {"date": "2026-05-01", "time": "08:00:00", "tz": "+02:00", "v": 1}),
            ("g/2", {"year": 26, "month": 5, "day": 1, "hour": 8, "min": 0, "sec": 0, "v": 2}),
            ("g/2", {"year": 26, "month": 5, "day": 1, "hour": 8, "min": 0, "sec": 1, "v": 3}),
        ],
        [("g1/v", MAY, 1), ("g2/v", MAY, 2), ("g2/v", "2026-05-01T06:00:01Z", 3)],
    ),
    Case(
        "date and time in the items, day first",
        """
- topic: log
  iterate: rows
  input: "{path}"
  time: {template: "{item.d} {item.t}", format: "%d.%m.%Y %H:%M", zone: Europe/Oslo}
""",
        [("log", {"rows": [{"d": "01.05.2026", "t": "08:00", "v": 1}, {"d": "01.05.2026", "t": "08:01", "v": 2}]})],
        [("v", MAY, 1), ("v", "2026-05-01T06:01:00Z", 2)],
    ),
    Case(
        "c72: the zone in a field, by name or in minutes",
        """
- topic: zf/{n}
  time: {field: time, zone: "{payload.zone|}{payload.utcOffset|}"}
  input: "{n}/{path}"
""",
        [
            ("zf/1", {"time": "2026-05-01T08:00:00", "zone": "Europe/Oslo", "v": 1}),
            ("zf/2", {"time": "2026-05-01T08:00:00", "utcOffset": 120, "v": 2}),
            ("zf/3", {"time": "2026-05-01T08:00:00", "zone": "+0200", "v": 3}),
            ("zf/4", {"time": "2026-05-01T08:00:00", "zone": "CEST", "v": 4}),
            ("zf/5", {"time": "2026-05-01T02:00:00", "utcOffset": -4, "v": 5}),
            ("zf/6", {"time": "2026-05-01T08:00:00", "zone": "Europe/Oslo", "v": 6}),
            ("zf/6", {"time": "2026-05-01T11:30:00", "zone": "Asia/Kolkata", "v": 6.5}),
        ],
        [*((f"{n}/v", MAY, n) for n in range(1, 7)), ("6/v", MAY, 6.5)],
    ),
    Case(
        "c73: an epoch that is counted in local time",
        """
- topic: plc/{n}
  time: {field: ts, unit: s, zone: Europe/Oslo}
  input: "{n}/{path}"
""",
        [("plc/1", {"ts": 1777622400, "v": 1}), ("plc/1", {"ts": "1793066400", "v": 2})],
        [("1/v", MAY, 1), ("1/v", "2026-10-27T01:00:00Z", 2)],
    ),
    Case(
        "a local time counted in nanoseconds beside its second",
        """
- {topic: plc, time: {field: s, unit: s, plus: {path: ns, unit: ns}, zone: "+02:00"}, input: "{path}"}
""",
        [("plc", {"s": 1777622400, "ns": 500000000, "v": 1})],
        [("v", "2026-05-01T06:00:00.5Z", 1)],
    ),
    Case(
        "c05: the time is in another list",
        """
- topic: production
  iterate: measurements
  item_name: name
  input: "production/{item}"
  unit: "{item.units}"
  time: "event[0].time"
  values: {value: {}}
""",
        [
            (
                "production",
                {
                    "event": [{"name": "Fire", "time": 1777615200009}, {"name": "Flood", "time": 1777615201000}],
                    "measurements": [
                        {"name": "temperature", "value": 23.4, "units": "°C"},
                        {"name": "moisture", "value": 5, "units": "%"},
                    ],
                },
            )
        ],
        [
            ("production/temperature", "2026-05-01T06:00:00.009Z", 23.4),
            ("production/moisture", "2026-05-01T06:00:00.009Z", 5),
        ],
    ),
    Case(
        "c60: times called t, observedAt, TS, time_stamp; c71: other texts",
        """
- {topic: "{t}", input: "{t}/{path}", values: {v: {}}, other_values: filter}
""",
        [
            (str(n), {name: time, "v": n})
            for n, (name, time) in enumerate(
                [
                    ("t", 1777615200), ("observedAt", "2026-05-01T06:00:00Z"), ("TS", 1777615200000),
                    ("time_stamp", 1777615200), ("t", "2026-05-01T06:00:00Z"), ("created_at", "2026-05-01 06:00:00"),
                    ("time", "2026-05-01 06:00:00,000"), ("time", "20260501T060000Z"), ("time", "1.7776152E9"),
                    ("time", "2026-05-01T06:00Z"), ("date", "2026-05-01 06:00:00"),
                    ("time", "2026-05-01T06:00:00.000000999Z"),
                ]
            )
        ],
        [(f"{n}/v", MAY, n) for n in range(12)],
    ),
    Case(
        "a whole number that is written as a date",
        """
- {topic: plc, time: {field: dt, format: "%Y%m%d%H%M%S", zone: "+02:00"}, input: "{path}"}
""",
        [("plc", {"dt": 20260501080000, "v": 1})],
        [("v", MAY, 1)],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_samples_have_their_own_times(case: Case) -> None:
    mapped = map_all(case.rules, case.messages, case.arrival, case.headers)
    assert [reject for each in mapped for reject in each.rejects] == []
    samples = [sample for each in mapped for sample in each.samples]
    assert sorted(samples) == sorted((input_id, parse_time(time), value) for input_id, time, value in case.samples)


REFUSED = [
    (
        "{field: ts, zone: Europe/Oslo}",
        {"ts": 1777622400, "v": 1},
        "if the device counts from 1970 in local time, set unit",
    ),
    ("{field: ts, zone: Europe/Oslo}", {"ts": "2026-03-29T02:30:00", "v": 1}, "does not exist in Europe/Oslo"),
    ("{field: ts, zone: Europe/Oslo, repeated_hour: reject}", {"ts": "2026-10-25T02:30:00", "v": 1}, "is there twice"),
    ("{field: ts}", {"ts": "2026-10-25T02:30:00 Europe/Oslo", "v": 1}, "send UTC or an offset with the time"),
    ("{field: ts, zone: Europe/Oslo}", {"ts": "260115080000S", "v": 1}, "has no time as in 'Europe/Oslo S'"),
    ("{field: ts}", {"ts": "260501080000S", "v": 1}, "'S' says whether it is summer time, but not where; set zone"),
    ("{field: ts}", {"ts": "2026-05-01 14:00:00 CST", "v": 1}, "'CST' may stand for several zones; set zone"),
    (
        "{field: ts}",
        {"ts": "2026-05-01 08:00:00 CET", "v": 1},
        "CET in summer may be winter time (+01:00), or the name",
    ),
    (
        "{field: ts, zone: '{payload.z}'}",
        {"ts": "2026-05-01T08:00:00", "z": "Mars", "v": 1},
        "'Mars' is no IANA time zone",
    ),
    ("{field: ts, zone: '{payload.z}'}", {"ts": "2026-05-01T08:00:00", "z": 100, "v": 1}, "'100' is no IANA time zone"),
    (
        "{field: ts, zone: '{payload.z}'}",
        {"ts": "2026-05-01T08:00:00", "z": "EST", "v": 1},
        "'EST' may stand for several",
    ),
    ("{field: ts, zone: '{payload.z}'}", {"ts": "2026-05-01T08:00:00", "v": 1}, "the zone is not there, or empty"),
    ("{template: '{payload.d} {payload.t}'}", {"d": "2026-05-01", "v": 1}, "{payload.t}': it is not there, or a part"),
    ("{template: '{payload.d} {payload.t}'}", {"d": "2026-05-01", "t": "25:00", "v": 1}, "neither ISO 8601"),
    ("{field: s, plus: {path: ns, unit: ns}}", {"s": 1777615200, "v": 1}, "plus: 'ns' is not there"),
    (
        "{field: s, plus: {path: ns, unit: ns}}",
        {"s": 1777615200, "ns": "x", "v": 1},
        "plus: 'ns' is 'x', and no number",
    ),
    ("{field: ts, format: gps}", {"ts": "soon", "v": 1}, "'soon' is no number of s since 1980-01-06"),
    ("{field: ts, format: filetime}", {"ts": 1777615200, "v": 1}, "is no plausible time"),
    ("{field: ts, format: '%d %Z'}", {"ts": "01 08:00", "v": 1}, "is not in the format %d %Z"),
]


@pytest.mark.parametrize(("time", "payload", "said"), REFUSED)
def test_an_unknown_time_is_a_dead_letter_with_a_remedy(time: str, payload: dict[str, Any], said: str) -> None:
    rules = f"- {{topic: a, input: '{{path}}', time: {time}, values: {{v: {{}}}}, other_values: filter}}"
    for mapped in map_all(rules, [("a", payload)] * 2, ARRIVAL, ()):
        assert not mapped.samples
        (reject,) = mapped.rejects
        assert reject.reason in (Reason.TIME_UNREADABLE, Reason.TIME_OUT_OF_RANGE)
        assert said in reject.message


def test_a_rate_of_nothing_gives_no_times() -> None:
    rules = "- {topic: a, parallel: [v], time: {field: ts, step: {path: rate, unit: hz}}}"
    (mapped,) = map_all(rules, [("a", {"ts": MAY, "rate": 0, "v": [1, 2]})], ARRIVAL, ())
    assert not mapped.samples
    assert "a rate of 0 hz gives no times" in mapped.rejects[0].message


def test_a_time_that_is_missing_may_be_the_arrival() -> None:
    rules = "- {topic: a, input: '{path}', time: {template: '{payload.d} {payload.t}', missing: arrival}}"
    (mapped,) = map_all(rules, [("a", {"d": "2026-05-01", "v": 1})], ARRIVAL, ())
    assert mapped.samples == [("v", parse_time(ARRIVAL), 1)]


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("{template: '{payload.d} {path}'}", "time.template: {path} differs from value to value"),
        ("{template: '{nowhere}'}", "time.template"),
        ("{template: '{payload.d}', field: t}", "exclude each other"),
        ("{plus: {path: ns, unit: ns}}", "need field, template or header"),
        ("{zone: Europe/Oslo, repeated_hour: nearest}", "nearest needs field, template or header"),
        ("{field: t, step: 2ms}", "step is for the items of a list"),
        ("{field: t, step: {path: rate}}", "write a duration (step: 2ms), or a field with its unit"),
        ("{field: t, zone: Mars}", "'Mars' is no IANA time zone"),
        ("{field: t, zone: '+02:00 S'}", "is no IANA time zone"),
        ("{field: t, format: gps, zone: Europe/Oslo}", "GPS time is the same everywhere"),
        ("{field: t, format: excel, epoch: 2000-01-01}", "has its own"),
    ],
)
def test_settings_that_cannot_be_meant(time: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        map_all(f"- {{topic: a, time: {time}}}", [], ARRIVAL, ())


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        ({"watts": {"2026-05-01T06:00:00Z": 120}}, "time_in_key"),
        ({"1777615200": 0.21}, "time_in_key"),
        ({"1234567890": 0.21}, None),  # may be a serial number
        ({"createdAt": "2026-05-01T06:00:00Z", "v": 1}, "time_not_read"),
        ({"TimeInstant": "2026-05-01 06:00:00", "v": 1}, "time_not_read"),
        ({"plcTime": 1777615200, "v": 1}, "time_not_read"),
        ({"last_seen": "2026-05-01T06:00:00Z", "startTime": 1777615200, "v": 1}, None),
        ({"time": "2026-05-01T08:00:00", "v": 1}, "local_time"),  # c96
        ({"date": "2026-05-01", "parts": 1}, None),  # c83: a day is not the time of readings
    ],
)
def test_a_time_that_is_not_taken_is_said(payload: dict[str, Any], kind: str | None) -> None:
    mapper = mapper_of("[]")
    samples = mapper.map("s", Record("t", json.dumps(payload).encode(), parse_time(ARRIVAL))).samples
    assert len(samples) == 1
    assert [one.kind for one in mapper.observations.take()] == ([] if kind is None else [kind])


@pytest.mark.parametrize(
    ("time", "at", "said"),
    [
        ("{field: ts, zone: Europe/Oslo}", "2026-10-25T02:30:00", "2026-10-25 02:30:00 in Europe/Oslo, which is there"),
        ("{template: '{payload.ts}', zone: '{payload.z}'}", "2026-10-25 02:30", "2026-10-25 02:30:00 in Europe/Oslo"),
        ("{field: ts, zone: Europe/Oslo}", "2026-10-25T03:00:00", None),
        ("{field: ts, zone: Europe/Oslo}", "2026-10-25T02:30:00+02:00", None),
        ("{field: ts, zone: Europe/Oslo, repeated_hour: nearest}", "2026-10-25T02:30:00", None),
    ],
)
def test_that_the_first_of_two_hours_was_taken_is_said_once_a_rule(time: str, at: str, said: str | None) -> None:
    mapper = mapper_of(f"[{{topic: '{{d}}', time: {time}}}]")
    for _ in range(3):
        for topic in ("one", "other"):
            payload = json.dumps({"ts": at, "z": "Europe/Oslo", "v": 1}).encode()
            assert len(mapper.map("s", Record(topic, payload, parse_time("2026-10-25T02:30:00Z"))).samples) == 1
    found = [one for _ in range(2) for one in mapper.take_observations()]
    assert [(one.kind, one.subject) for one in found] == ([] if said is None else [("repeated_hour", "{d}")])
    assert said is None or (said in found[0].text and "nearest" in found[0].remedy)


def test_fields_of_a_time_are_no_names_of_devices() -> None:
    rules = """
- {topic: a, input: "{path}", time: {template: "{payload.d} {payload.c}", zone: "{payload.site_zone}"}}
- {topic: b, time: {template: "{key}"}}
"""
    mapper = mapper_of(rules)
    for n in range(40):
        payload = {"d": f"2026-05-{1 + n // 20:02d}", "c": f"08:{n:02d}", "site_zone": "Europe/Oslo", "v": n}
        assert len(mapper.map("s", Record("a", json.dumps(payload).encode(), parse_time("2026-05-03"))).samples) == 1
    assert mapper.observations.take() == []
    one, other = (Record("b", b"1", parse_time(MAY), key=key) for key in (b"1777615200", b"1777615201"))
    assert mapper.map("s", one).samples == [("b", parse_time(MAY), 1)]
    assert not mapper.merges_keys("s", one, other)


def test_an_epoch_number_with_the_zone_utc_needs_no_unit() -> None:
    for zone in ("UTC", "Etc/UTC", "+00:00", "Z"):
        (mapped,) = map_all(
            f"- {{topic: a, time: {{zone: '{zone}'}}}}", [("a", {"ts": 1777615200, "v": 1})], ARRIVAL, ()
        )
        assert mapped.samples == [("a:v", parse_time(MAY), 1)]
