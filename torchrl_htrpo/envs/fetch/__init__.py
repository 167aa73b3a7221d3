"""Batched physics of the Fetch tasks: model, random starts and goals, observations, and the engines."""
