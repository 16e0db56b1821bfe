"""The doors by which a person decides about a waiting write, none of which passes through the assistant."""
