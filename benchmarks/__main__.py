"""`python -m benchmarks`: all measurements, one JSON object each."""

import json

from benchmarks.mqtt_path import compare

print(json.dumps(compare(50_000, 3), indent=1))
