"""Bulk encoding on Ray: the job and its record, shards that are written exactly once, driver and workers."""
