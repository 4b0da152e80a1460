"""What depends on the device: precision, threads, memory."""
