"""One package per product that the bot drives; each is found through the ``opsbot.handlers`` entry points."""
