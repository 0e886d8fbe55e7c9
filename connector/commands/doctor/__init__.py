"""The command `doctor`: a file for each thing that is looked at. Each kind of source and store looks for itself."""
