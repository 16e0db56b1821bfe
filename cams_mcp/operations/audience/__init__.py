"""What AddCustomAudienceUser needs besides its own module."""
