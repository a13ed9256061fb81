"""Where the cells of a sweep are measured: a file a backend."""
