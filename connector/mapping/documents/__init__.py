"""Documents → the values in them."""
