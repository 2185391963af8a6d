"""Measurements, as ratios of two things timed in the same run."""
