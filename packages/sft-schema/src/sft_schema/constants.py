"""Numbers that every package agrees on."""

CONFIG_VERSION = 1
"""Version of the YAML keys."""

RECORDS_VERSION = 1
"""Version of the records and of the prepared files."""

IGNORE_INDEX = -100
"""Label of a token that is not trained. The value that torch's cross entropy and transformers ignore."""
