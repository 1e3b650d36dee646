"""Answers are judged: what a judge is told, who judges, how its words become a score, and what is kept of it.

`judged.judged(judge, rubric, items, cache, budget, progress, foretold)` is the way in: a `rubric.JudgeItem` for each
answer and turn comes back as a `judged.Judgment`. A rubric comes from `rubric.own_rubric`, `rubric.read_rubric` or
`mt_bench.mt_bench_rubric`; `taming` shows texts so that they cannot speak for the judge. The judge of a server is in
`judge`, those that need none are in `other_judges`, what they may cost is in `budget`, what they said in `cache`;
`verdict.score_of` reads a score in what `spoken` leaves of a reply; `agreement.agreement` compares two judges.
"""
