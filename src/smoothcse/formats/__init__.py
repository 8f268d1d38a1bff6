"""What a trained model leaves the house as: other file formats, smaller embeddings, a model card, a hub repository."""
