"""One U-Net pass over rows with different captures, by hooks and attention processors on stock networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.errors import InvalidInput
from backbones.rows import Captures, HiddenStates, KeysValues, UNetRow
from backbones.stem import shared_stem


class _EverythingCaptured(Exception):
    """Raised from the last hook of the captures: the rest of the pass is not needed."""


def forward_rows(
    network: nn.Module, rows: Sequence[UNetRow], input_convolutions: Mapping[str, nn.Conv2d]
) -> list[Captures]:
    """The captures of each row, from one pass of `network`; `noise_pred` is filled in by the backbone, which knows the
    prediction type.

    network: a stock diffusers `UNet2DConditionModel` or `UNet2DModel`, in eval mode.
    rows: latents of one height and width; timesteps, contexts, labels, input convolutions and banks may differ.
    input_convolutions: further `conv_in` layers by the name that rows use; their input channels may differ.
    Returns one `Captures` a row, in order. Fast attention stays on: attention maps are computed in addition, only for
    rows that capture them.
    """
    weight = next(network.parameters())
    own_channels: int = network.get_submodule("conv_in").in_channels  # type: ignore[assignment]
    latents = _stack_padded([row.latents for row in rows], weight, at_least=own_channels)
    timesteps = torch.tensor([row.timestep for row in rows], device=weight.device)
    arguments: dict[str, Tensor] = {}
    if rows[0].class_label is not None:
        arguments["class_labels"] = torch.tensor([row.class_label for row in rows], device=weight.device)
    text_lengths = [0 if row.encoder_hidden_states is None else len(row.encoder_hidden_states) for row in rows]
    if any(text_lengths):
        contexts = [row.encoder_hidden_states for row in rows if row.encoder_hidden_states is not None]
        arguments["encoder_hidden_states"] = _stack_padded(contexts, weight)
        if len(set(text_lengths)) > 1:
            arguments["encoder_attention_mask"] = _length_mask(text_lengths, weight.device)

    collected = _Collected(rows, text_lengths)
    with ExitStack() as stack:
        stack.enter_context(collected.hooks_on(network))
        stack.enter_context(_input_convolutions(network, rows, input_convolutions))
        stack.enter_context(_banks(network, rows))
        stack.enter_context(shared_stem(network, rows))
        try:
            output = network(latents, timesteps, return_dict=False, **arguments)[0]
        except _EverythingCaptured:
            output = None
    return collected.by_row(output)


class _Collected:
    """The tensors that the hooks of one pass collect, by kind and module name, and the rows that want them."""

    def __init__(self, rows: Sequence[UNetRow], text_lengths: Sequence[int]) -> None:
        self.rows = rows
        self.text_lengths = text_lengths
        self.features = _askers(rows, lambda row: row.capture.features)
        self.maps = _askers(rows, lambda row: row.capture.attention_maps)
        self.banks = _askers(rows, lambda row: row.capture.keys_values)
        self.tensors: dict[tuple[str, str], list[Tensor]] = {}
        self.wanted = {("features", name) for name in self.features} | {("maps", name) for name in self.maps}
        self.wanted |= {(kind, name) for name in self.banks for kind in ("keys", "values")}
        self.needs_output = any(row.capture.output or row.capture.noise_pred for row in rows)
        self.queries: dict[str, Tensor] = {}

    @contextmanager
    def hooks_on(self, network: nn.Module) -> Iterator[None]:
        handles = []

        thread = get_ident()

        def hook(module: str, function: Callable[[Any], None]) -> None:
            def call(_: nn.Module, __: object, output: Any) -> None:
                # Passes of other threads through the same network have hooks of their own.
                if get_ident() == thread:
                    function(output)

            handles.append(network.get_submodule(module).register_forward_hook(call))

        try:
            for name in self.features:
                hook(name, lambda output, name=name: self._keep("features", name, self.features[name], _sample(output)))  # type: ignore[misc]
            for name in self.maps:
                attention = network.get_submodule(name)
                hook(f"{name}.to_q", lambda query, name=name: self.queries.update({name: query}))  # type: ignore[misc]
                hook(f"{name}.to_k", lambda key, name=name, attn=attention: self._keep_map(name, attn, key))  # type: ignore[misc]
            for name in self.banks:
                hook(f"{name}.to_k", lambda keys, name=name: self._keep("keys", name, self.banks[name], keys))  # type: ignore[misc]
                hook(f"{name}.to_v", lambda values, name=name: self._keep("values", name, self.banks[name], values))  # type: ignore[misc]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, kind: str, name: str, askers: Sequence[int], tensor: Tensor) -> None:
        # A view of the whole batch would keep the tensors of rows without this capture in memory.
        chosen = tensor if len(askers) == len(self.rows) else tensor[list(askers)]
        self._add(kind, name, list(chosen.unbind()))

    def _keep_map(self, name: str, attention: Any, key: Tensor) -> None:
        """Head-averaged softmax(q k^T * scale) of the rows that capture it, by the attention module's own methods."""
        query, maps = self.queries.pop(name), dict[int, Tensor]()
        lengths: dict[int, list[int]] = {}
        for index in self.maps[name]:
            lengths.setdefault(self.text_lengths[index], []).append(index)
        # Rows whose texts have the same length share one product.
        for length, rows in lengths.items():
            q = attention.head_to_batch_dim(query[rows])
            k = attention.head_to_batch_dim(key[rows, :length])
            probabilities = attention.get_attention_scores(q, k).unflatten(0, (len(rows), -1)).mean(dim=1)
            height, width = _spatial_size(self.rows[rows[0]].latents.shape[-2:], probabilities.shape[1])
            own = probabilities.transpose(1, 2).unflatten(2, (height, width)).contiguous()
            maps.update(zip(rows, own.unbind(), strict=True))
        self._add("maps", name, [maps[index] for index in self.maps[name]])

    def _add(self, kind: str, name: str, tensors: list[Tensor]) -> None:
        # Of a module that runs twice in a pass the first output counts, even if the pass continues.
        self.tensors.setdefault((kind, name), tensors)
        self.wanted.discard((kind, name))
        if not self.wanted and not self.needs_output:
            raise _EverythingCaptured

    def by_row(self, output: Tensor | None) -> list[Captures]:
        if self.wanted:
            raise InvalidInput(
                "capture", f"the U-Net pass did not run the modules {sorted(name for _, name in self.wanted)}"
            )
        features: list[dict[str, Tensor]] = [{} for _ in self.rows]
        maps: list[dict[str, Tensor]] = [{} for _ in self.rows]
        banks: list[dict[str, KeysValues]] = [{} for _ in self.rows]
        for name, askers in self.features.items():
            for index, feature in zip(askers, self.tensors["features", name], strict=True):
                features[index][name] = feature
        for name, askers in self.maps.items():
            for index, attention_map in zip(askers, self.tensors["maps", name], strict=True):
                maps[index][name] = attention_map
        for name, askers in self.banks.items():
            pairs = zip(self.tensors["keys", name], self.tensors["values", name], strict=True)
            for index, (keys, values) in zip(askers, pairs, strict=True):
                banks[index][name] = KeysValues(keys, values)
        wants = [row.capture.output or row.capture.noise_pred for row in self.rows]
        outputs = [output[i] if output is not None and wants[i] else None for i in range(len(self.rows))]
        return [Captures(*parts) for parts in zip(outputs, [None] * len(outputs), features, maps, banks, strict=True)]


def _askers(rows: Sequence[UNetRow], names: Callable[[UNetRow], Sequence[str]]) -> dict[str, list[int]]:
    """Row indices by the name that they capture, each row once for each name."""
    askers: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for name in dict.fromkeys(names(row)):
            askers.setdefault(name, []).append(index)
    return askers


@contextmanager
def _input_convolutions(
    network: nn.Module, rows: Sequence[UNetRow], convolutions: Mapping[str, nn.Conv2d]
) -> Iterator[None]:
    """Pass each row through the input convolution that it names, which may take other channels than the network's
    own.
    """
    named = _askers(rows, lambda row: (row.input_convolution,))
    if set(named) == {""}:
        yield
        return
    own = network.get_submodule("conv_in")
    received: list[Tensor] = []
    thread = get_ident()

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if get_ident() != thread:
            return inputs
        received.append(inputs[0])
        return (inputs[0][:, : own.in_channels],)

    def after(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if get_ident() != thread:
            return output
        entered = output.clone()
        for name, indices in named.items():
            if name:
                convolution = convolutions[name]
                entered[indices] = convolution(received[0][indices, : convolution.in_channels])
        return entered

    # Prepended, so that a capture of conv_in sees the row's own input convolution.
    handles = [own.register_forward_pre_hook(before), own.register_forward_hook(after, prepend=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _banks(network: nn.Module, rows: Sequence[UNetRow]) -> Iterator[None]:
    """Give each banked self-attention layer a processor that reads the rows' banks, for this one pass."""
    thread, layers = get_ident(), _askers(rows, lambda row: tuple(row.bank or ()))
    try:
        for name in layers:
            attention: Any = network.get_submodule(name)
            with _setting_processors:
                if not isinstance(attention.processor, _ByThread):
                    attention.set_processor(_ByThread(attention.processor))
                banked = _BankedAttention([(row.bank or {}).get(name) for row in rows])
                attention.processor.by_thread[thread] = banked
        yield
    finally:
        for name in layers:
            attention = network.get_submodule(name)
            with _setting_processors:
                processor = attention.processor
                if isinstance(processor, _ByThread):
                    processor.by_thread.pop(thread, None)
                    if not processor.by_thread:
                        attention.set_processor(processor.stock)


_setting_processors = Lock()


class _ByThread:
    """An attention processor that lets each thread's pass use its own; other threads use the stock one."""

    def __init__(self, stock: Any) -> None:
        self.stock = stock
        self.by_thread: dict[int, _BankedAttention] = {}

    def __call__(self, attn: Any, hidden_states: Tensor, *arguments: Any, **options: Any) -> Tensor:
        processor = self.by_thread.get(get_ident(), self.stock)
        attended: Tensor = processor(attn, hidden_states, *arguments, **options)
        return attended


class _BankedAttention:
    """Self-attention over `[own tokens, bank tokens]`, each row with a bank of its own length, or none.

    Source: key/value fusion, arXiv:2410.02369, section 3.3: own tokens first, then the shots in order.
    """

    def __init__(self, banks: Sequence[KeysValues | HiddenStates | None]) -> None:
        self.banks = banks
        self.lengths = [_bank_length(bank) for bank in banks]

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: None = None, attention_mask: None = None
    ) -> Tensor:
        batch, own_length, _ = hidden_states.shape
        query = attn.to_q(hidden_states)
        # The own tokens first: hooks keep the first output of a projection.
        own_keys, own_values = attn.to_k(hidden_states), attn.to_v(hidden_states)
        read = [_keys_values(attn, bank, own_keys) for bank in self.banks]
        keys = torch.cat([own_keys, _stack_padded([entry.keys for entry in read], query)], dim=1)
        values = torch.cat([own_values, _stack_padded([entry.values for entry in read], query)], dim=1)
        mask = None
        if len(set(self.lengths)) > 1:
            mask = _length_mask([own_length + length for length in self.lengths], query.device)[:, None, None]
        query, keys, values = (
            tensor.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for tensor in (query, keys, values)
        )
        attended = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=attn.scale)
        joined = attended.transpose(1, 2).reshape(batch, own_length, -1)
        return attn.to_out[1](attn.to_out[0](joined))  # type: ignore[no-any-return]


def _bank_length(bank: KeysValues | HiddenStates | None) -> int:
    if bank is None:
        return 0
    return len(bank.states if isinstance(bank, HiddenStates) else bank.keys)


def _keys_values(attn: Any, bank: KeysValues | HiddenStates | None, like: Tensor) -> KeysValues:
    """Keys and values from the row's bank, after its own tokens; empty without a bank."""
    if isinstance(bank, HiddenStates):
        states = bank.states.to(like.device, like.dtype)
        return KeysValues(attn.to_k(states), attn.to_v(states))
    empty = like.new_zeros((0, like.shape[-1]))
    return bank or KeysValues(empty, empty)


def _sample(output: Any) -> Tensor:
    """The feature map in a module's output: the tensor, the first of a tuple, or the object's `.sample`."""
    if isinstance(output, Tensor):
        return output
    return output[0] if isinstance(output, tuple) else output.sample  # type: ignore[no-any-return]


def _stack_padded(tensors: Sequence[Tensor], like: Tensor, at_least: int = 0) -> Tensor:
    """A batch of tensors that differ in their first dimension at most, the shorter ones followed by zeros.

    tensors: (n, ...) each. Returns (B, longest or `at_least`, ...) on the device and in the number type of `like`.
    Tensors of one type are moved and cast together. Others are cast alone: in a common type first, a row's result would
    depend on its batch mates.
    """
    longest = max(at_least, *(len(tensor) for tensor in tensors))
    cast: Sequence[Tensor] = tensors
    if len({(tensor.device, tensor.dtype) for tensor in tensors}) > 1:
        cast = [tensor.to(like.device, like.dtype) for tensor in tensors]
    if all(len(tensor) == longest for tensor in cast):
        return torch.stack(tuple(cast)).to(like.device, like.dtype)
    # Not in place: gradients flow through the padding in training.
    behind = [(0, 0) * (tensor.ndim - 1) + (0, longest - len(tensor)) for tensor in cast]
    padded = [functional.pad(tensor, room) for tensor, room in zip(cast, behind, strict=True)]
    return torch.stack(padded).to(like.device, like.dtype)


def _length_mask(lengths: Sequence[int], device: torch.device) -> Tensor:
    """(B, longest) bool: True if a row has a token of its own."""
    return torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]


def _spatial_size(latent_size: Sequence[int], tokens: int) -> tuple[int, int]:
    """Height and width of the level that has `tokens` positions; each level halves, rounding up."""
    height, width = latent_size
    while height * width > tokens:
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != tokens:
        raise InvalidInput("attention_maps", f"{tokens} positions fit no level of a {tuple(latent_size)} latent")
    return height, width
