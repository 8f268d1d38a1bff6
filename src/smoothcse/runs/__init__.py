"""A run's configuration, folder, manifest and checkpoints."""
