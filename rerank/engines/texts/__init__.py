"""The engine of the kinds that encode queries and documents by themselves."""
