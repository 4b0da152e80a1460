"""The stages of a job: one for a single model, several for a cascade."""
