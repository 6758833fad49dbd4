"""The HTTP process: the OpenAI dialect, the page, metrics. Knows the engine by its messages; never imports torch."""
