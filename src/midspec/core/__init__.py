"""What every other package may import: records, artifacts, errors, fingerprints, registries, and statistics of texts.

`core` itself exports nothing; import `midspec.core.records`, `.artifact`, `.errors`, `.fingerprint`, `.registry`,
`.text`, `.near_duplicates` or `.assistant_names`.
"""
