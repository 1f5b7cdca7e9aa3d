"""The benchmarks that asv runs; README.md says how.

asv imports every module of this package to look for benchmarks.
"""
