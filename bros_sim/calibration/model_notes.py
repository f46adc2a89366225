"""What a profile says of its model: what is modelled of it, what is not, what is inferred."""

from collections.abc import Iterator

from bros_sim.calibration.model_keys import ModelKeys
from bros_sim.calibration.quantization import Storage
from bros_sim.profiles.model_shape import WINDOWED_REQUEST, ModelShape


def notes_of(
    shape: ModelShape, dtype: str, keys: ModelKeys, storage: Storage | None, *, beside: bool
) -> tuple[str, ...]:
    """The notes; none for a dense decoder with full attention and weights of one type."""
    found = [*_experts(shape), *_latent(shape, dtype), *_windows(shape, keys), *_stored(storage)]
    if keys.rope.kind != "default" and shape.max_model_len != keys.max_position_embeddings:
        by = f"{keys.rope.kind} scaling, as vLLM computes it"
        found.append(f"Model length {shape.max_model_len:,} by {by}.")
    if beside:
        found.append(
            "Only the language model is counted: what the file has beside it (vision) takes "
            "memory and time too."
        )
    return tuple(found)


def _experts(shape: ModelShape) -> Iterator[str]:
    if shape.experts is None:
        return
    k, of = shape.experts.per_token, shape.experts.number
    active, total = shape.active_parameters / 1e9, shape.parameters / 1e9
    yield (
        f"Mixture of experts: {k} of {of} for each token, so {active:.2f} of {total:.2f} billion "
        "parameters, embeddings included. Inferred: routing is uniform, so n tokens read "
        f"1 - (1 - {k}/{of})^n of the experts' weights. Not modelled: uneven routing, and the "
        "exchange of tokens between GPUs."
    )


def _latent(shape: ModelShape, dtype: str) -> Iterator[str]:
    if shape.latent_kv is not None:
        yield (
            f"Latent attention (MLA): {shape.latent_kv} values of KV a layer, "
            f"{shape.kv_bytes_per_token(1, dtype):,} bytes a token, kept whole on each GPU."
        )


def _windows(shape: ModelShape, keys: ModelKeys) -> Iterator[str]:
    layers, tokens = keys.windowed_layers(), keys.window or 0
    if not layers or tokens >= shape.max_model_len:
        return
    which = f"{layers} of {shape.layers} layers"
    if shape.windows is None:
        yield (
            f"Windows: {which} attend to {tokens:,} tokens at most. Not modelled: their KV and "
            "attention are counted in full, an upper bound beyond that. Requests go on to the "
            f"model length, {shape.max_model_len:,} tokens."
        )
        return
    yield (
        f"Windows: KV bytes of {which} stop growing at {tokens:,} tokens. Their attention is a "
        f"constant for each request, an upper bound below {tokens:,} tokens. The KV blocks leave "
        f"room for the windows of requests of {WINDOWED_REQUEST:,} tokens (assumed). Requests go "
        f"on to the model length, {shape.max_model_len:,} tokens."
    )


def _stored(storage: Storage | None) -> Iterator[str]:
    if storage is None:
        return
    what = "the experts" if storage.experts_only else "the layers' matrices"
    yield (
        f"Weights: {what} are {storage.name}, {storage.bits:.4g} bits a value with scales; all "
        "else is in the model's type. Matrix products take the fp16 rate: too slow where the card "
        "computes in 8 or 4 bits."
    )
