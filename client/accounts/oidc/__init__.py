"""Signing in with the hospital's own identity provider: OpenID Connect, the authorization code flow with PKCE."""
