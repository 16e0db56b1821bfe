"""The CAMS client: signing, credentials, retries and response parsing."""
