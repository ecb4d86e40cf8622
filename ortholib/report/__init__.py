"""What people read: chapters, figures, sentences, the book."""
