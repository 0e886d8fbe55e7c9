"""Tag lists: names, units, labels and conversions of signals from a CSV or YAML file that people keep."""
