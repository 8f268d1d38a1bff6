"""Encoding of files of any length, and quantisation of embeddings."""
