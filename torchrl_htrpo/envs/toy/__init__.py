"""Small tasks in pure torch, batched on any device."""
