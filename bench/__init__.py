"""How fast, and against whom. `python -m bench` is the report, `pytest bench` the quick look at regressions; both only in a checkout."""
