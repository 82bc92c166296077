"""Comparison of ways to train on the same images and for the same number of passes.

The ways are: each store alone, all stores federated, the federated model fine-tuned at a store, and
all images pooled.

`command` runs a comparison; `held_out` chooses the images to judge on, `arms` plans the trainings,
`trainer` runs them, `results` counts, `wording` makes sentences and `page` the report.
"""
