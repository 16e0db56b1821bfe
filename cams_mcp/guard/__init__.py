"""The guard: decides whether a write may be sent."""
