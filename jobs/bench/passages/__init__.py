"""What long documents cost by passages, and how much of them a score store saves."""
