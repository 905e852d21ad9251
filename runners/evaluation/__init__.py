"""Evaluation: records, quality and FLOPs of systems, passes of agents, matched heuristics, clock times, nested runs."""
