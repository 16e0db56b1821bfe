"""People and confirmation questions, for AddCustomAudienceUser and uploads."""
