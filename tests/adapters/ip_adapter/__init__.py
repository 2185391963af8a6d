"""IP-Adapter."""
