"""One file per topology."""
