"""The compiler of rules: sections of the configuration → the rules that the mapper uses; one module for each topic."""
