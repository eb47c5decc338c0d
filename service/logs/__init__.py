"""Structured log lines, and writing them without holding anybody up."""
