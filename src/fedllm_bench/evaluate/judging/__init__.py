"""Answers are judged: what a judge is told, who judges, how its words become a score, and what is kept of it."""
