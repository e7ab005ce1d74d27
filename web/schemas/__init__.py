"""What goes over the wire, noun by noun."""
