"""Encoding of files of any length, and quantised embeddings."""
