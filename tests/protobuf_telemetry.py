"""Messages of Protobuf with every type, as protoc's own classes write them.

The fixtures are for the conftest of a folder whose tests need such a message.
"""

from __future__ import annotations

import importlib.resources
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

COMMON = """
syntax = "proto3";
package plant.common;
import public "units.proto";
message Value { double value = 1; Unit unit = 2; }
"""
UNITS = """
syntax = "proto3";
package plant.common;
enum Unit { UNIT_UNKNOWN = 0; CELSIUS = 1; BAR = 2; }
"""
TELEMETRY = """
// A comment, with "quotes" and { braces }
syntax = "proto3";
package plant.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "common.proto";
option java_package = "com.example.plant";
/* Block
   comment */
message Telemetry {
  google.protobuf.Timestamp time = 1;
  string machine = 2;
  double temperature = 3;
  optional double pressure = 4;
  int64 count = 5;
  uint64 total = 6;
  sint32 delta = 7;
  fixed32 serial = 8;
  sfixed64 position = 9;
  float speed = 10;
  bool running = 11;
  bytes raw = 12;
  State state = 13;
  repeated State history = 14;
  repeated int32 counts = 15;
  repeated double plain = 16 [packed = false];
  map<string, common.Value> values = 17;
  map<int32, bool> flags = 18;
  map<bool, State> states = 35;
  oneof extra { int32 code = 19; string text = 20; Inner inner = 21; }
  google.protobuf.DoubleValue wrapped = 22;
  google.protobuf.Int64Value missing = 23;
  google.protobuf.Struct free = 24;
  google.protobuf.Duration elapsed = 25;
  common.Unit unit = 26;
  .plant.common.Value value = 0x1B;
  repeated Inner inners = 28;
  Inner.Deep deep = 29;
  enum State { option allow_alias = true; OFF = 0; ON = 1 [deprecated = true]; RUNNING = 1; FAULT = -2; HIGH = 0x7; }
  message Inner {
    int32 a = 1;
    message Deep { Telemetry.State s = 1; Inner again = 2; }
  }
  reserved 30 to 32, 34;
  reserved "old", "older";
}
message Second { int32 x = 1; }
service Plant { rpc Send (Telemetry) returns (stream Second) { option deprecated = true; } }
"""
PROTO2 = """
syntax = "proto2";
message Old {
  required int32 a = 1;
  optional int32 b = 2 [default = 5];
  repeated group Item = 3 { optional string name = 4; }
  optional Kind kind = 5;
  enum Kind { FIRST = 010; SECOND = 9; }
  extensions 100 to 199;
}
extend Old { optional int32 more = 100; }
"""
FILES = {"telemetry.proto": TELEMETRY, "common.proto": COMMON, "units.proto": UNITS, "old.proto": PROTO2}
REFERENCES = {"units.proto": UNITS, "common.proto": COMMON}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .proto files, and what protoc makes of them: all.desc."""
    found = tmp_path_factory.mktemp("proto")
    for name, text in FILES.items():
        (found / name).write_text(text)
    includes = [f"-I{found}", f"-I{importlib.resources.files('grpc_tools') / '_proto'}"]
    arguments = ["protoc", *includes, "--include_imports", f"--descriptor_set_out={found / 'all.desc'}"]
    assert protoc.main([*arguments, "telemetry.proto", "old.proto"]) == 0
    return found


@pytest.fixture(scope="module")
def classes(folder: Path) -> Any:
    """Name → message class, as protoc has it."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((folder / "all.desc").read_bytes()).file:
        pool.Add(file)
    return lambda name: GetMessageClass(pool.FindMessageTypeByName(name))


@pytest.fixture(scope="module")
def full(classes: Any) -> bytes:
    """A message with everything in it."""
    telemetry = classes("plant.v1.Telemetry")
    message = telemetry(
        machine="press", temperature=0.0, pressure=0.0, count=-(2**62), total=2**64 - 1, delta=-5, serial=7,
        position=-(2**40), speed=1.5, running=True, raw=b"\0\xff", state="FAULT", history=["ON", "OFF", "HIGH"],
        counts=[1, -2], plain=[0.5, 1.5], flags={1: True, -2: False}, states={True: "ON"}, unit=2,
    )  # fmt: skip
    message.history.append(99)
    message.time.FromDatetime(datetime(2024, 5, 1, 12, 0, 0, 500001, tzinfo=UTC))
    message.values["in"].value = 21.5
    message.values["in"].unit = 1
    message.inner.a = 3
    message.wrapped.value = 0
    message.free.update({"a": [1, None, {"b": True, "c": "x"}]})
    message.elapsed.FromMilliseconds(1500)
    message.value.value = 2
    message.inners.add(a=1)
    message.inners.add()
    message.deep.s = 1
    message.deep.again.a = 9
    found: bytes = message.SerializeToString()
    return found


FULL = {
    "time": datetime(2024, 5, 1, 12, 0, 0, 500001, tzinfo=UTC), "machine": "press", "temperature": 0.0, "pressure": 0.0,
    "count": -(2**62), "total": 2**64 - 1, "delta": -5, "serial": 7, "position": -(2**40), "speed": 1.5,
    "running": True, "raw": b"\0\xff", "state": "FAULT", "history": ["ON", "OFF", "HIGH", 99], "counts": [1, -2],
    "plain": [0.5, 1.5], "values": {"in": {"value": 21.5, "unit": "CELSIUS"}}, "flags": {"1": True, "-2": False},
    "states": {"true": "ON"}, "inner": {"a": 3}, "wrapped": 0.0, "free": {"a": [1.0, None, {"b": True, "c": "x"}]},
    "elapsed": 1.5, "unit": "BAR", "value": {"value": 2.0, "unit": "UNIT_UNKNOWN"}, "inners": [{"a": 1}, {"a": 0}],
    "deep": {"s": "ON", "again": {"a": 9}},
}  # fmt: skip
