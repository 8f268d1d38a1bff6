"""Bulk encoding on a distributed engine: shards (what is done, exactly once), the job, and Ray (who does it)."""
