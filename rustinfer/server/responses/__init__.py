"""/v1/responses: conversations kept by the server, and answers as lists of items."""
