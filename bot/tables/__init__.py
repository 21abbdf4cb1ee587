"""The tables of the bot, beside those of the durable engine; each module has those that belong together."""
