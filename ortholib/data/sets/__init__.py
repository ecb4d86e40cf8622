"""One reader a published data set."""
