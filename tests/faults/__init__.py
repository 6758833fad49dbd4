"""The fault matrix, with real processes on a tiny model."""
