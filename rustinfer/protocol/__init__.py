"""What the engine process and the server process say to each other, and how it travels. Nothing here imports torch."""
