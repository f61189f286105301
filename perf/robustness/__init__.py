"""What nothing may break: bad inputs, kills, damage, runs at once. See `perf/README.md`."""
