"""`python -m benchmarks`: all measurements, one JSON object each."""

import json

from benchmarks import clarify_client, kafka_path, mapping, mqtt_path, sparkplug

print(json.dumps(mqtt_path.compare(50_000, 3), indent=1))
print(json.dumps(kafka_path.compare(300_000, 5), indent=1))
print(json.dumps(clarify_client.compare(3), indent=1))
print(json.dumps(mapping.compare(), indent=1))
print(json.dumps(sparkplug.compare(), indent=1))
