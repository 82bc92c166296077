"""Simulation of many stores on one machine: data sets, partitions, engines, and
`flower-simulation`.
"""
