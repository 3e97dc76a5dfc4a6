"""Steps of observing a watch without the model: discovery, tracking, and their order. Does not import Prefect."""
