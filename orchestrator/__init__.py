"""Where and when trials run.

In a notebook: `orchestrator.plan.plan.plan`, `orchestrator.launch.launch`,
`orchestrator.debug.debug`. They take the names and defaults of the command line.
"""
