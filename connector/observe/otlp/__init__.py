"""OpenTelemetry: metrics, logs and traces sent to a collector by OTLP over HTTP.

Imported only for a configuration with `observe.otlp`: the package opentelemetry-proto is an extra.
"""
