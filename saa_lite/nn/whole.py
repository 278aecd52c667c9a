"""Layers that tools of torch must take as a whole.

Our convolutions and linear layers are subclasses of torch's, so that what works with those works
with them. Some of torch's tools do not call a layer but look inside, and would take its weight for
the factor of a multiplication:

* ``torch.fx`` traces into every layer but torch's own. Ours are one node, too (:func:`one_node`);
  a traced network has them as layers with their options.
* ``torch.nn.utils.fusion`` multiplies the weight with the scale of a batch norm. No adder's output
  grows with its weight by a factor, and scaled weights round to others; so fusing is refused.
* ``nn.TransformerEncoderLayer`` in evaluation multiplies with the weights of its two linear layers
  in one fused call, unless some part of it has a hook. Our linear layers have one.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from saa_lite.errors import UsageError

FUSION = "torch.nn.utils.fusion"
OPERATOR = "operator"  # a key in the metadata of a state dict, by layer
OTHERS = "the state is of a network with other operators"


def one_node(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's ``forward``, of which ``torch.fx`` sees nothing but that the layer is called."""

    @functools.wraps(forward)
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        for given in (*args, *kwargs.values()):
            if isinstance(given, fx.Proxy):
                return _node(self, given.tracer, args, kwargs)
        return forward(self, *args, **kwargs)

    return call


def _node(layer: nn.Module, tracer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = tracer.path_of_module(layer)
    if not name:
        raise UsageError(
            f"torch.fx traces networks, in which a layer like {type(layer).__name__} is one node; "
            "put it into an nn.Sequential"
        )
    return tracer.create_proxy("call_module", name, args, kwargs)


class Whole(nn.Module):
    """A layer whose weight is not, or not as it is, the factor of a multiplication.

    The names and shapes of its tensors are those of a multiplication, so a state dict says in its
    metadata, which ``torch.save`` keeps, what used them (:func:`operator_of`), and none that names
    another operator is loaded.
    """

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {})
        metadata.setdefault(prefix[:-1], {})[OPERATOR] = operator_of(self)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Torch's, unless the state names another operator than this class or one it is made of.

        Then nothing is loaded here and torch raises with this sentence, told of one layer alone.
        """
        named = local_metadata.get(OPERATOR)
        if named is None or named in {base.__name__ for base in type(self).__mro__}:
            super()._load_from_state_dict(
                state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                error_msgs,
            )  # fmt: skip
        elif not any(text.startswith(OTHERS) for text in error_msgs):
            error_msgs.append(other_operators(prefix[:-1] or "the layer", named, self))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """What copies and files are made from; torch's fusing functions begin with a copy.

        Raises:
            UsageError: it is one of them that copies. What they do next looks like any other use.
        """
        caller = sys._getframe(1).f_back  # the frame between is copy.deepcopy
        if caller is not None and caller.f_globals.get("__name__") == FUSION:
            raise UsageError(
                f"{type(self).__name__} cannot be fused with a batch norm, whose scale its weight "
                "cannot take up; leave the norm a layer of its own"
            )
        return super().__reduce_ex__(protocol)

    def _insist_on_calls(self) -> None:
        if isinstance(self, nn.Linear) and _nothing not in self._forward_pre_hooks.values():
            self.register_forward_pre_hook(_nothing)

    def _no_longer_insist(self) -> None:
        hooks = self._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if hook is _nothing]:
            del hooks[key]


def operator_of(layer: nn.Module) -> str | None:
    """What the metadata of a state dict says of the layer; None of a multiplication."""
    return type(layer).__name__ if isinstance(layer, Whole) else None


def other_operators(name: str, there: object, layer: nn.Module) -> str:
    """The sentence on a state of another operator than the layer's."""
    return (
        f"{OTHERS}: {name} is {there} there and {type(layer).__name__} here; load it into a "
        "network with its own operators"
    )


def _nothing(layer: nn.Module, args: tuple[Any, ...]) -> None:
    """A hook that is there to be seen."""
