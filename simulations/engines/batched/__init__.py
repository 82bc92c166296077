"""The engine for many stores at once on one device: their weights are rows of one tensor, their
batches one batch.
"""
