"""The hub: human review, telemetry intake and experiments; one small service without torch."""
