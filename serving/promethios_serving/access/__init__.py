"""Who may do what: API keys, scopes, tenants and quotas; the same for engine, wrapped mode and hub. See README.md."""
