"""What a profile says of its model: what is modelled of it, what is not, what is inferred."""

from collections.abc import Iterator

from bros_sim.calibration.model_keys import ModelKeys
from bros_sim.calibration.quantization import Storage
from bros_sim.profiles.model_shape import WINDOWED_REQUEST, ModelShape


def size_notes(
    shape: ModelShape, dtype: str, keys: ModelKeys, storage: Storage | None, *, beside: bool
) -> Iterator[str]:
    """On memory and lengths; none of a dense decoder with full attention and one type of weights.

    ``beside``: the file has more than the language model.
    """
    if shape.experts is not None:
        k, of = shape.experts.per_token, shape.experts.number
        active, total = shape.active_parameters / 1e9, shape.parameters / 1e9
        yield (
            f"Mixture of experts: {k} of {of} for each token, so {active:.2f} of {total:.2f} "
            "billion parameters, embeddings included."
        )
    if shape.latent_kv is not None:
        yield (
            f"Latent attention (MLA): {shape.latent_kv} values of KV a layer, "
            f"{shape.kv_bytes_per_token(1, dtype):,} bytes a token, kept whole on each GPU."
        )
    yield from _windows(shape, keys)
    if storage is not None:
        what = "the experts" if storage.experts_only else "the layers' matrices"
        yield (
            f"Weights: {what} are {storage.name}, {storage.bits:.4g} bits a value with scales; "
            "all else is in the model's type."
        )
    if shape.max_model_len != keys.max_position_embeddings:
        by = f"{keys.rope.kind} scaling, as vLLM computes it"
        yield f"Model length {shape.max_model_len:,} by {by}."
    if beside:
        yield (
            "Only the language model is counted: what the file has beside it (vision) takes "
            "memory and time too."
        )


def _windows(shape: ModelShape, keys: ModelKeys) -> Iterator[str]:
    layers, tokens = _windowed(shape, keys)
    if not layers:
        return
    which = f"{layers} of {shape.layers} layers"
    if shape.windows is None:
        found = f"Windows: {which} attend to {tokens:,} tokens at most. Not modelled: their KV is "
        found += "counted in full, an upper bound beyond that."
    else:
        found = f"Windows: KV bytes of {which} stop growing at {tokens:,} tokens. The KV blocks "
        found += f"leave room for the windows of requests of {WINDOWED_REQUEST:,} tokens (assumed)."
    yield f"{found} Requests go on to the model length, {shape.max_model_len:,} tokens."


def _windowed(shape: ModelShape, keys: ModelKeys) -> tuple[int, int]:
    """Layers with a window that requests can outgrow, and its tokens."""
    tokens = keys.window or 0
    return (keys.windowed_layers() if tokens < shape.max_model_len else 0), tokens


def time_notes(shape: ModelShape, keys: ModelKeys, storage: Storage | None) -> Iterator[str]:
    """On iteration times that come from peak rates and not from measurements."""
    if shape.experts is not None:
        k, of = shape.experts.per_token, shape.experts.number
        yield (
            f"Inferred: routing is uniform, so n tokens read 1 - (1 - {k}/{of})^n of the experts' "
            "weights. Not modelled: uneven routing, and the exchange of tokens between GPUs."
        )
    layers, tokens = _windowed(shape, keys)
    if layers and shape.windows is None:
        yield f"Attention is over all tokens, an upper bound for requests beyond {tokens:,} tokens."
    elif layers:
        yield (
            "Attention in windows is a constant for each request and token, an upper bound for "
            f"requests below {tokens:,} tokens."
        )
    if storage is not None:
        yield (
            "Matrix products take the fp16 rate: an upper bound where the card computes in 8 or 4 "
            "bits."
        )
