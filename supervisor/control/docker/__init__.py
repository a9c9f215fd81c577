"""The Docker Engine API, one module for each resource. Source: the Engine's API reference."""
