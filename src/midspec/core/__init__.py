"""What every other package may import: records, artifacts, errors, fingerprints, registries, and statistics of texts.

`core` itself exports nothing; import `midspec.core.records`, `midspec.core.errors` and so on.
"""
