"""The OpenAPI document: made of the requests' models, the replies' models and the route table."""
