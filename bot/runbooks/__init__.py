"""Markdown documents -> runbooks -> what is expected of each step, and whether it was seen."""
