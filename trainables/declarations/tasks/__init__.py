"""Declarations of the tasks."""

from trainables.declarations.tasks.images import GAUSSIAN, IMAGE_TASKS
from trainables.declarations.tasks.language import TEXT_TASKS
from trainables.declarations.tasks.long_sequences import SEQUENCE_TASKS
from trainables.declarations.tasks.spikes import SPIKE_TASKS
from trainables.declarations.tasks.synthetic import SYNTHETIC_TASKS
from trainables.declarations.tasks.teacher_student import TEACHER_STUDENT

TASKS = (
    *IMAGE_TASKS, GAUSSIAN, *SPIKE_TASKS, *TEXT_TASKS, TEACHER_STUDENT, *SYNTHETIC_TASKS,
    *SEQUENCE_TASKS,
)  # fmt: skip
