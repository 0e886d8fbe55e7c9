"""The compiler of rules: from sections of the configuration to what the mapper uses; one module a topic."""
