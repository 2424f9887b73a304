"""The governance-native language model: configuration, modeling file, tokenizer, token encoding, scores."""
