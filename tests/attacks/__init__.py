"""What advisories of other servers teach, tried on ours with real processes on a tiny model."""
