"""What measures: passes over a split, matched heuristics, clock times, nested runs."""
