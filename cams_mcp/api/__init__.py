"""The way to CAMS and back."""
