"""The store's identity: its home, its keys and its enrolment."""
