"""The page of a report: what it is made of, its plots, its templates and the server behind its form."""
