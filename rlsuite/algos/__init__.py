"""The study texts: one complete algorithm per file."""
