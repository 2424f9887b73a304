"""What the governance stands on: frameworks, principles, norms, checks, domains, and the decision."""
