"""Several runs that answer one question: variants over seeds, and published results over again."""
