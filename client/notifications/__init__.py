"""Delivery of alarms to other programs, while frames go on."""
