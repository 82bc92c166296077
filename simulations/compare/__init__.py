"""Comparison of ways to train: stores alone, federated, fine-tuned and pooled, on the same images
for as long.

`command` runs a comparison; `held_out` chooses the images to judge on, `arms` plans the trainings,
`trainer` runs them, `results` counts, `wording` makes sentences and `page` the report.
"""
