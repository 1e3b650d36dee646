"""From the files of runs to tables, figures and a report."""
