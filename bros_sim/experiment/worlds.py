"""What a profile and an experiment say to the components of a run."""

from dataclasses import replace

from bros_sim.core.world import World
from bros_sim.experiment.schema import Run
from bros_sim.profiles.profile import Profile


def world_of(spec: Run, profile: Profile) -> World:
    """The world of a run."""
    cluster = spec.cluster
    return replace(
        profile_world(profile, cluster.max_model_len),
        replicas=cluster.replicas,
        seed=spec.seed,
        num_gpu_blocks=cluster.num_gpu_blocks,
    )


def profile_world(profile: Profile, max_model_len: int | None) -> World:
    """The world of any run on that profile, with one replica."""
    return World(
        max_model_len=max_model_len or profile.model.max_model_len,
        profile=profile.id,
        gpu=profile.gpu.name,
        gpu_memory_gib=profile.gpu.memory_gib,
        weight_bytes=profile.weight_bytes,
        kv_bytes_per_token=profile.kv_bytes_per_token,
        profile_blocks=profile.kv.num_gpu_blocks,
        profile_block_size=profile.kv.block_size,
        host_kv_gib=profile.host.kv_gib if profile.host else None,
    )
