from rustinfer.testing.suite import *  # noqa: F403
