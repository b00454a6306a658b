"""One composition for each role of a process: what it builds, starts and stops, each in a straight line."""
