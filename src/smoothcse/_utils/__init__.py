"""What several rooms need and none owns: files, progress, messages."""
