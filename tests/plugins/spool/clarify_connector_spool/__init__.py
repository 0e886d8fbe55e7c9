"""Files dropped into a folder as a source, telegrams as a format, and a folder of dead letters."""
