"""The store's policy: what it allows, its budgets, and how both are enforced."""
