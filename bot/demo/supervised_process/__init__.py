"""``python -m bot.demo.supervised_process --socket /tmp/payments.sock --name payments``: something to supervise.

A process with asyncio children under supervision that is driven through ``dashboard-ipc.v1``, as a program built on
the newest published rust-supervisor crate is: what the demonstration and the tests run against. It is a simulation of
that crate in Python, not the crate; its children and what happens to them are real.
"""

from bot.demo.supervised_process.child import ChildSpec
from bot.demo.supervised_process.faults import FAULTS, Faults
from bot.demo.supervised_process.ipc import BindError, Limits
from bot.demo.supervised_process.process import ProcessConfig, SupervisedProcess, payment_children

__all__ = [
    "FAULTS",
    "BindError",
    "ChildSpec",
    "Faults",
    "Limits",
    "ProcessConfig",
    "SupervisedProcess",
    "payment_children",
]
