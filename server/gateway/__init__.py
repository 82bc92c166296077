"""The only way in from outside: a reverse proxy that lets stores pass, and only to what they need."""
