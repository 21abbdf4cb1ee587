"""The SOMAS projects of ``opsbot demo``: a folder with every kind of trouble, as old as it has to be right now.

The files are made by replaying the calls of upstream's StateManager on a substituted clock, so that state, dead letters
and log belong together; only then is damaged what has to be damaged.
"""

from bot.demo.somas_projects.kinds import PROJECTS, generate
from bot.demo.somas_projects.many import generate_many
from bot.demo.somas_projects.writer import STAGES, ProjectWriter

__all__ = ["PROJECTS", "STAGES", "ProjectWriter", "generate", "generate_many"]
