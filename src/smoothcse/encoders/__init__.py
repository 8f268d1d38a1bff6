"""Encoders: building for training, loading and running for inference, checks, fingerprints."""
