"""How hard Hypothesis looks: moderately, or with

pytest tests/properties --hypothesis-profile=thorough
"""

from hypothesis import settings

settings.register_profile("moderate", parent=settings.get_profile("patient"), max_examples=40)
settings.register_profile("thorough", parent=settings.get_profile("moderate"), max_examples=800)
if settings.get_current_profile_name() != "thorough":
    settings.load_profile("moderate")
