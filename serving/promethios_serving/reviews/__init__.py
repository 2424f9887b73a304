"""What people shall look at, from the engine to the hub: nothing lost, nothing twice. See README.md."""
