"""What lies on the disk: run directories, policies, checkpoints."""
