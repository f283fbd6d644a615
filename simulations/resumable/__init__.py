"""Trainings whose figures are kept as they finish, so that a stopped run goes on where it was: what comparisons and
sweeps share."""
