"""Run folders: configuration, manifest, metrics, models and checkpoints."""
