"""What a cluster goes without that is started for one job on one machine. It reaches into what is private to Ray."""
