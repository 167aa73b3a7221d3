"""Create goal-conditioned environments, batch them, run them in worker processes, and check their outputs."""
