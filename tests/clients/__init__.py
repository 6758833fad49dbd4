"""Other people's clients against a live server, each in an environment of its own: `make test-clients`."""
