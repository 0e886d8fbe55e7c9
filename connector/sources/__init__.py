"""Sources: replayable logs of records. Every adapter keeps the promises of `source.Source`."""
