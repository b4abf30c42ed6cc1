"""What one does with a trained network."""
