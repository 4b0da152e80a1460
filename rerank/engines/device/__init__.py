"""Everything that depends on the device: precision, threads, memory."""
