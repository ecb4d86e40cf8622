"""The chapter on DINO-Ortho: its arms, what their fits say, in which images, and how that is told."""
