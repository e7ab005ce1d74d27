"""The routes, noun by noun."""
