"""``/somas report``: scheduled messages that tell which thresholds are crossed, and are quiet about the rest."""
