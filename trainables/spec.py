"""The former name of `trainables.declarations`.

It stays so that study files need no change: one that changes gives its parts without a `version`
another, and their trials new ids.
"""

from trainables.declarations import *  # noqa: F403
