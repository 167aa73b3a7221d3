"""Hindsight Trust Region Policy Optimization as composable TorchRL components."""
