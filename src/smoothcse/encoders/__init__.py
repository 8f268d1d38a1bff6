"""Encoders: built for training, loaded for inference, described."""
