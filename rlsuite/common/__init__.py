"""What is the same for every algorithm: networks, storage, statistics, logging, environments."""
