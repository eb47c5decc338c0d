"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Time is measured in benchmarks/, never asserted: a busy machine makes no test fail.
settings.register_profile("crossfix", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("crossfix")
