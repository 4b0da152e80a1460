"""Tables as people have them: data frames that are ranked in place, and the published result of a job."""
