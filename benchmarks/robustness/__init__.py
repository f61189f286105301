"""What nothing may break: bad inputs, kills, damage, runs at once. See `benchmarks/README.md`."""
