"""Guesses for people who label photos, in class folders and files of labelling tools, and back.

A format is a module with `write` and `read`, and a line in `formats.FORMATS`. A label is filled in
where the model is sure, so that a person looks for the photos without one. Label Studio keeps
predictions apart from labels: there unsure ones are written, too.
"""
