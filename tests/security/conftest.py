"""The process and the projects that the attacks are aimed at are those of the transcripts."""

from tests.transcripts.conftest import payments, process, root, somas

__all__ = ["payments", "process", "root", "somas"]
