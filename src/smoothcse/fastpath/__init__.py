"""What makes a training step fast; each part has a plain path beside it."""
