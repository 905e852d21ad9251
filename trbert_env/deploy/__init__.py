"""The model that is shipped."""
