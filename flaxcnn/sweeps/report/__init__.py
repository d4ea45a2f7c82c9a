"""The output of a sweep: live table, results, intervals, pictures, and the best trial's config."""
