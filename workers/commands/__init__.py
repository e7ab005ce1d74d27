"""What the commands of `djinn` do; `workers.cli` declares them."""
