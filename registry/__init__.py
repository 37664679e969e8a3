"""What we have: models as bundles, the catalogue of actions, and evidence about both."""
