"""Values → samples and signal metadata: topic patterns, rules, input IDs, timestamps. No I/O."""
