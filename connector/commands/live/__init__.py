"""Commands that look at a running connector, through its pages."""
