"""``profile list``: the shipped profiles."""

from bros_sim.cli.options import Format, FormatOption
from bros_sim.cli.printing import show
from bros_sim.profiles.profile import load_profile, profile_ids
from bros_sim.report.profiles import ProfileList


def list_profiles(form: FormatOption = Format.TABLE) -> None:
    """List the shipped profiles: label, KV blocks and fit error.

    Example: `bros-sim profile list`
    """
    show(ProfileList([load_profile(name) for name in profile_ids()]), form)
