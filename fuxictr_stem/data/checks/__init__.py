"""What is looked for in a cache before the first step of a run.

`check_labels` rejects labels, samples, weights and groups that a task cannot learn from or be measured on;
`check_leaks` warns of features that alone predict a label; `unknown_ids` logs the ids that train lacks.
"""
