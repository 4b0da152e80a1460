"""What a job costs on many actors and many stored pairs, measured on one machine."""
