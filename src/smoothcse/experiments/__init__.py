"""Experiments of several runs: studies, reproductions, seeds and the demo, with one planner and one runner."""
