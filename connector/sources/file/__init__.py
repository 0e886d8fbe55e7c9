"""Files of messages, a JSON object a line."""
