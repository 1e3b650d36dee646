"""Where clients train: each executor maps jobs to results, in job order."""
