"""A trained model asked by a person or a file: in the terminal, on a local page, or in batches."""
