"""The engine for many stores at once on one device: their weights are rows of one tensor, their
batches one batch.

    engine          the cohort, over one or several devices
    device_worker   one device: groups of stores that fit in its memory (`memory`)
    training        a group, all stores stepping together through a `schedule`
    network         layers with a set of weights per store (`layers`, `convolution`)
"""
