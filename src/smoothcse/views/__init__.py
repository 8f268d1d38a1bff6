"""How a batch of text becomes the views that a loss compares."""
