"""The world that agents act in: environments, made, stepped, and played to the end of an episode."""
