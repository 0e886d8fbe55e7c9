"""Rules: what the configuration says of them, and what they compile to."""
