"""The commands and their arguments. What a command does is imported only when it runs.

So ``memfold --help`` costs the import of the parser and nothing else.
"""

# In the order in which the page of the command line shows them.
# isort: off
from memfold_consumers.cli.commands import running, feeding, reading, auditing, erasing, repairing
from memfold_consumers.cli.commands import replaying, parking

# isort: on
from memfold_consumers.cli.commands.shared import app

__all__ = [
    "app",
    "auditing",
    "erasing",
    "feeding",
    "parking",
    "reading",
    "repairing",
    "replaying",
    "running",
]
