"""``children.running == target_count``: the facts of a supervised process, each with where it really comes from."""

from handlers.supervisor.facts import host, process, tree  # they register their facts
from handlers.supervisor.facts.process import uptime
from handlers.supervisor.facts.reading import FACTS, Need, RelaySeen, Seen, definitions, needs, observe

__all__ = [
    "FACTS",
    "Need",
    "RelaySeen",
    "Seen",
    "definitions",
    "host",
    "needs",
    "observe",
    "process",
    "tree",
    "uptime",
]
