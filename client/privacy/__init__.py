"""The store's memory of its answers, on disk before they leave: of what they have told of its
photos (the ledger), and of its steps in secure sums.
"""
