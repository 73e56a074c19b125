"""Effects. Each driver owns one outside thing, reads and changes it, and calls no other driver (law 5)."""
