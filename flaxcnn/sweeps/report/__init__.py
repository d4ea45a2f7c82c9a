"""What a sweep shows: the live table, results, intervals, pictures, and the config of the best trial."""
