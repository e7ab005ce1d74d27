"""How hard Hypothesis looks: moderately, or with

pytest tests/properties --hypothesis-profile=thorough
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "moderate", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", parent=settings.get_profile("moderate"), max_examples=800)
if settings.get_current_profile_name() != "thorough":
    settings.load_profile("moderate")
