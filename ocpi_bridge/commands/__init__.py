"""The operator's commands, a file for each noun; only the one that is asked for is loaded."""
