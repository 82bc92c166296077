"""Geometry and colours of the report's charts: plain numbers, no markup."""
