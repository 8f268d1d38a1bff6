"""Shared helpers: atomic writes, progress bars, validation messages, locks, disk space, optional imports."""
