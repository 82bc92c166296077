"""Ensembles of finished models, judged against each model by itself.

`members` reads models and computes their predictions, `methods` combines these, `command` judges
the result.
"""
