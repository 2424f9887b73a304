"""Training configurations: the shipped YAML files and their reader."""
