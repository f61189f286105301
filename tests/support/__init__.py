"""What the tests share: data, models, projects, oracles. `perf/` uses it, too."""
