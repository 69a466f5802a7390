"""The providers that midspec ships: a module each, found by `midspec.llm._providers`."""
